_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
default_hooks = dict(
    logger=dict(interval=7),
    # The one before is deleted before the next is written: two, or a kill in
    # between would leave none.
    checkpoint=dict(interval=6, max_keep_ckpts=2),
    # Killed and resumed, a run ends with the weights of an unbroken one.
    resume_seed=dict(type='ResumeSeedHook'))
