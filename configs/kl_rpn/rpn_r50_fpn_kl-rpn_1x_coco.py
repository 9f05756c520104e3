_base_ = 'mmdet::rpn/rpn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmdet_klrpn'], allow_failed_imports=False)
model = dict(rpn_head=dict(type='KLRPNHead'))
# The inherited metric='proposal_fast' fails on numpy 1.24 and later.
val_evaluator = dict(type='ProposalMetric', proposal_nums=(100, 300, 1000))
test_evaluator = val_evaluator
