"""Whole detectors on a device that is not the CPU."""

from contextlib import nullcontext
from itertools import chain

import pytest
import torch
from fake_device import FakeDevice
from mmengine.structures import InstanceData
from tiny_detectors import (
    ROI_HEADS,
    RPN_HEADS,
    batch,
    predict,
    tiny_detector,
    train,
)

from mmdet_klrpn.apis import propose
from mmdet_klrpn.visualization import draw_overview

HEADS = [
    *((name, 'StandardRoIHead') for name in RPN_HEADS),
    *(('KLRPNHead', name) for name in ROI_HEADS if name != 'StandardRoIHead'),
]


class Cuda(nullcontext):
    """A GPU that there is, with the interface of the fake one."""

    device = torch.device('cuda', 0)

    def put(self, model):
        return model.to(self.device)


# The fake one computes as the CPU does, bit for bit.
DEVICES = [pytest.param(FakeDevice, 0.0, id='fake')]
if torch.cuda.is_available():
    DEVICES.append(pytest.param(Cuda, 1e-2, id='cuda'))


def on_device(device, *args, **kwargs):
    """A detector that takes batches from the host, as in a training."""
    model = device.put(tiny_detector(*args, **kwargs))
    model.data_preprocessor._device = device.device
    return model


def close(tolerance):
    return dict(rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(('kind', 'tolerance'), DEVICES)
@pytest.mark.parametrize('heads', HEADS)
def test_losses_and_gradients_are_those_of_the_cpu(heads, kind, tolerance):
    device = kind()
    plain, model = tiny_detector(*heads), on_device(device, *heads)
    expected = train(plain, batch())
    with device:
        actual = train(model, batch())
        torch.testing.assert_close(
            on_host(actual), expected, **close(tolerance)
        )
        for one, other in zip(model.parameters(), plain.parameters()):
            torch.testing.assert_close(
                on_host(one.grad), other.grad, **close(tolerance)
            )


@pytest.mark.parametrize(('kind', 'tolerance'), DEVICES)
@pytest.mark.parametrize('heads', HEADS)
def test_predictions_are_those_of_the_cpu(heads, kind, tolerance):
    device = kind()
    model = on_device(device, *heads)
    expected = predict(tiny_detector(*heads), batch())
    with device:
        actual = on_host(predict(model, batch()))
    for one, other in zip(chain(*actual), chain(*expected)):
        assert len(other) > 0
        # Of equal scores, another device may sort the boxes otherwise.
        names = ['scores'] if tolerance else other.keys()
        for name in names:
            torch.testing.assert_close(
                one[name][:10], other[name][:10], **close(tolerance)
            )


def on_host(value):
    """Tensors and instances in any nest of lists, tuples and dicts."""
    if isinstance(value, dict):
        return {key: on_host(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [on_host(each) for each in value]
    return value if value is None else value.detach().cpu()


def ignored(data):
    data['data_samples'][0].ignored_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0.0, 40.0, 40.0]]), labels=torch.zeros(1)
    )


def nothing(data):
    for sample in data['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]


def unequal(data):
    data['inputs'][1] = data['inputs'][1][:, :64, :72]
    data['data_samples'][1].set_metainfo(dict(img_shape=(64, 72)))


ASSIGNER = tiny_detector().train_cfg.rpn.assigner
PATHS = {
    'no object': (nothing, {}),
    'unequal sizes': (unequal, {}),
    'a border': (unequal, dict(allowed_border=16)),
    'a weight': (nothing, dict(pos_weight=2.0)),
    'ignored': (ignored, dict(assigner={**ASSIGNER, 'ignore_iof_thr': 0.5})),
}


@pytest.mark.parametrize(('kind', 'tolerance'), DEVICES)
@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('head', ['SparseRPNHead', 'KLRPNHead'])
def test_every_path_stays_on_the_device(head, path, kind, tolerance):
    change, train_cfg = PATHS[path]
    device, data = kind(), batch()
    change(data)
    expected = train(tiny_detector(head, **train_cfg), data)
    with device:
        actual = train(on_device(device, head, **train_cfg), data)
        torch.testing.assert_close(
            on_host(actual), expected, **close(tolerance)
        )


@pytest.mark.parametrize(('kind', 'tolerance'), DEVICES)
def test_what_the_first_stage_gives_is_drawn(kind, tolerance):
    device = kind()
    model = on_device(device).eval()
    image = batch()['inputs'][0].permute(1, 2, 0).numpy()
    with device:
        (stage, _) = propose(model, batch())
        figure = draw_overview(image, [('KL-RPN', stage)], 5)
    assert stage.proposals.bboxes.device.type == 'cuda'
    assert len(figure.axes) > 1


def costs(roi_head, images):
    """Waits and uploads of the second stage, in a training and a test."""
    device, found = FakeDevice(), []
    model = on_device(device, 'KLRPNHead', roi_head)
    with device, torch.no_grad():
        data = model.data_preprocessor(batch(images))
        samples = data['data_samples']
        features = model.extract_feat(data['inputs'])
        proposals = model.rpn_head.predict(features, samples)
        for stage in (model.roi_head.loss, model.roi_head.predict):
            torch.manual_seed(0)
            device.reset()
            stage(features, [each.clone() for each in proposals], samples)
            found.append([sum(device.waits.values())])
            found[-1].append(sum(device.uploads.values()))
    return found


@pytest.mark.parametrize('images', [2, 4])
@pytest.mark.parametrize('roi_head', [*ROI_HEADS][1:])
def test_a_second_stage_waits_no_more_than_mmdet_s(roi_head, images):
    loss, test = costs('StandardRoIHead', images)
    own_loss, own_test = costs(roi_head, images)
    assert own_loss[0] <= loss[0]
    assert own_test[0] <= test[0]
    # To decode stds, the coder's two constants and the image's scale.
    assert own_test[1] <= test[1] + 3 * images * ('std' in roi_head)
    # For a prior, each image's objects are compared with its proposals.
    assert own_loss[1] <= loss[1] + images
