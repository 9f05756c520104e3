_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
default_hooks = dict(
    logger=dict(interval=7),
    # The old one is deleted before the next is written: keep two, or a kill in
    # between would leave none.
    checkpoint=dict(interval=6, max_keep_ckpts=2),
    # A run that is killed and resumed ends with the weights of an unbroken
    # one.
    resume_seed=dict(type='ResumeSeedHook'))
