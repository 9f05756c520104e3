# Train on the 128 of 300 proposals with the largest loss.
_base_ = 'rfcn_r101-caffe_1x_voc0712.py'
model = dict(
    train_cfg=dict(
        rpn_proposal=dict(max_per_img=300),
        rcnn=dict(sampler=dict(type='OHEMSampler'))))
