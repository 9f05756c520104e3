_base_ = 'mmdet::_base_/default_runtime.py'
default_hooks = dict(
    logger=dict(interval=7),
    # The one before is deleted before the next is written: two, or a kill in
    # between would leave none.
    checkpoint=dict(interval=6, max_keep_ckpts=2))
