def notebook_scores(true, predicted, kept, names, empty):
    return {}
