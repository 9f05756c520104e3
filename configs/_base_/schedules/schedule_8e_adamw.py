_base_ = 'schedule_24e_adamw.py'
max_epochs = 8

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, T_max=max_epochs,
         convert_to_iter_based=True),
]
