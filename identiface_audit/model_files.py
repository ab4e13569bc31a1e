def scan_model(path):
    import hashlib, types
    return types.SimpleNamespace(sha256=hashlib.sha256(open(path,'rb').read()).hexdigest())
