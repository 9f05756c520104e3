"""mmdet's inferencer, with standard deviations in its results."""

from pathlib import Path

import mmdet.apis
import mmengine
from mmdet.structures import DetDataSample


class DetInferencer(mmdet.apis.DetInferencer):
    """DetInferencer of mmdet whose dicts and JSON files have ``bbox_stds``.

    ``predictions`` and ``preds/*.json`` get the std of x1, y1, x2, y2 of each
    detection, in pixels of the original image, if the detector predicts it.
    """

    def pred2dict(
        self, data_sample: DetDataSample, pred_out_dir: str = ''
    ) -> dict:
        """Turn a prediction into plain numbers, as the parent does.

        Args:
            data_sample (DetDataSample): The prediction.
            pred_out_dir (str): Folder of the files, '' for none.

        Returns:
            dict: ``labels``, ``scores``, ``bboxes`` and ``bbox_stds``.
        """
        name = Path(data_sample.get('img_path', f'{self.num_predicted_imgs}'))
        result = super().pred2dict(data_sample, pred_out_dir)
        stds = data_sample.get('pred_instances', {}).get('bbox_stds')
        if stds is not None:
            result['bbox_stds'] = stds.tolist()
            if pred_out_dir:
                file = Path(pred_out_dir, 'preds', f'{name.stem}.json')
                mmengine.dump(result, str(file))
        return result
