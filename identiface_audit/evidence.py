def proportion_interval(k, n):
    from statsmodels.stats.proportion import proportion_confint
    return proportion_confint(k, n, method='wilson') if n else (float('nan'),)*2
