"""Shim: `localization_loss { weighted_giou {} }` for one-stage models.

Why: the OD API's SSDMetaArch hands every localisation loss the encodings of the boxes, and its GIoU loss takes them for
corners of boxes: it trains, without an error, on numbers that mean nothing. Here the encodings are decoded first, all
with one anchor of side 1: GIoU stays the same when both boxes are moved and stretched along the axes together, so that
the anchor they belong to doesn't matter. Source of the loss: Rezatofighi et al., Generalized Intersection over Union,
CVPR 2019.
Can go when: SSDMetaArch decodes boxes before a loss that compares boxes.
"""


def install() -> None:
    import tensorflow as tf
    from object_detection.box_coders.faster_rcnn_box_coder import FasterRcnnBoxCoder
    from object_detection.core.box_list import BoxList
    from object_detection.core.losses import WeightedGIOULocalizationLoss
    from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch

    class OfEncodings(WeightedGIOULocalizationLoss):
        """1 - GIoU of the boxes that encodings (B, anchors, 4) stand for, times the weights: (B, anchors)."""

        def __init__(self, box_coder: FasterRcnnBoxCoder):
            self._box_coder = box_coder

        def _compute_loss(self, prediction_tensor, target_tensor, weights):
            boxes = (self._decoded(encodings) for encodings in (prediction_tensor, target_tensor))
            return super()._compute_loss(*boxes, weights)

        def _decoded(self, encodings):
            """Corners (B, anchors, 4)."""
            flat = tf.reshape(encodings, [-1, 4])
            anchors = tf.broadcast_to([0.0, 0.0, 1.0, 1.0], tf.shape(flat))
            return tf.reshape(self._box_coder.decode(flat, BoxList(anchors)).get(), tf.shape(encodings))

    original = SSDMetaArch.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        if isinstance(self._localization_loss, WeightedGIOULocalizationLoss):
            if not isinstance(self._box_coder, FasterRcnnBoxCoder):
                raise ValueError("weighted_giou needs a faster_rcnn_box_coder")
            self._localization_loss = OfEncodings(self._box_coder)

    SSDMetaArch.__init__ = init
