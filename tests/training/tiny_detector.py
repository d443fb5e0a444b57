"""A detector of the OD API that is traced in seconds: SSD on a network of three convolutions, for tests of training.

    python tests/training/tiny_detector.py --pipeline tiny.config --records ... --run ...

is `python -m training.train` with the feature extractor `ssd_tiny_keras` known to the OD API. With SIGNAL_AT="3 9" in
the environment the process sends itself signal 9 behind step 3, before anything of that step is saved.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONFIG = """
model { ssd {
  num_classes: 1
  image_resizer { fixed_shape_resizer { height: 64 width: 64 } }
  feature_extractor {
    type: "ssd_tiny_keras"
    conv_hyperparams {
      activation: RELU_6
      regularizer { l2_regularizer { weight: 0.0001 } }
      initializer { truncated_normal_initializer { stddev: 0.1 } }
      batch_norm { decay: 0.8 epsilon: 0.001 train: true }
    }
  }
  box_predictor { convolutional_box_predictor {
    kernel_size: 1 min_depth: 0 max_depth: 0 num_layers_before_predictor: 0
    class_prediction_bias_init: -2
    conv_hyperparams {
      regularizer { l2_regularizer { weight: 0.0001 } }
      initializer { truncated_normal_initializer { stddev: 0.1 } }
    }
  } }
  anchor_generator { ssd_anchor_generator {
    num_layers: 2 min_scale: 0.2 max_scale: 0.5 aspect_ratios: 1.0 reduce_boxes_in_lowest_layer: false
  } }
  box_coder { faster_rcnn_box_coder { y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 } }
  similarity_calculator { iou_similarity {} }
  matcher { argmax_matcher {
    matched_threshold: 0.5 unmatched_threshold: 0.4 force_match_for_each_row: true use_matmul_gather: true
  } }
  encode_background_as_zeros: true
  normalize_loss_by_num_matches: true
  loss {
    classification_loss { weighted_sigmoid_focal { alpha: 0.25 gamma: 2 } }
    localization_loss { weighted_smooth_l1 {} }
    classification_weight: 1
    localization_weight: 1
  }
  post_processing {
    batch_non_max_suppression {
      score_threshold: 0.001 iou_threshold: 0.5 max_detections_per_class: 120 max_total_detections: 120
    }
    score_converter: SIGMOID
  }
} }
train_config {
  batch_size: 4
  num_steps: 8
  unpad_groundtruth_tensors: true
  gradient_clipping_by_norm: 10
  optimizer {
    adam_optimizer { learning_rate { cosine_decay_learning_rate {
      learning_rate_base: 0.01 total_steps: 8 warmup_learning_rate: 0.001 warmup_steps: 2
    } } }
    use_moving_average: true
    moving_average_decay: 0.9
  }
  data_augmentation_options { random_horizontal_flip {} }
  data_augmentation_options { random_adjust_brightness { max_delta: 0.2 } }
}
train_input_reader { tf_record_input_reader {} max_number_of_boxes: 120 }
[face_detector.trainer] { save_every: 2 evaluate_every: 4 batch_norm_batches: 2 face_crop { min_size: 8 max_size: 40 } }
"""


def arguments(config, records, label_map, folder, *more, validation=True) -> list[str]:
    """Those of training.train for a run of the tiny detector, with more of them."""
    seen = ["--validation", records["validation"]] if validation else []
    paths = ["--pipeline", str(config), "--records", records["train"], "--label-map", str(label_map)]
    return [*paths, *seen, "--run", str(folder), "--checkpoint", "none", *more]


def register() -> None:
    """Makes the feature extractor known to the OD API."""
    import_module("training.od_api")  # puts the shims in place
    import tensorflow as tf
    from object_detection.builders import model_builder
    from object_detection.meta_architectures.ssd_meta_arch import SSDKerasFeatureExtractor

    class TinyExtractor(SSDKerasFeatureExtractor):
        """Feature maps of stride 8 and 16."""

        def build(self, input_shape=None):
            hyperparams = self._conv_hyperparams
            training = self._is_training and not self._freeze_batchnorm
            layers = []
            for number, (filters, strides) in enumerate(((8, 4), (16, 2), (16, 2))):
                options = {"padding": "same", "name": f"Tiny{number}", **hyperparams.params()}
                layers.append(tf.keras.layers.Conv2D(filters, 3, strides, **options))
                layers.append(hyperparams.build_batch_norm(training=training, name=f"Tiny{number}_BN"))
                layers.append(hyperparams.build_activation_layer(name=f"Tiny{number}_activation"))
            self._tiny = layers
            self.built = True

        def preprocess(self, resized_inputs):
            return resized_inputs * (2 / 255) - 1

        def _extract_features(self, preprocessed_inputs):
            features, outputs = preprocessed_inputs, []
            for layer in self._tiny:
                outputs.append(features := layer(features))
            return [outputs[5], outputs[8]]

    model_builder.SSD_KERAS_FEATURE_EXTRACTOR_CLASS_MAP["ssd_tiny_keras"] = TinyExtractor


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from detect_faces.errors import run_command

    register()
    from training import train

    if "SIGNAL_AT" in os.environ:
        at, number = map(int, os.environ["SIGNAL_AT"].split())
        require = train.guards.require_finite

        def signalled(step, *rest):
            if step == at:
                os.kill(os.getpid(), number)
            require(step, *rest)

        train.guards.require_finite = signalled
    run_command(train.main)
