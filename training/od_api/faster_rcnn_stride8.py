"""Shim: the second stage of Faster R-CNN Inception-ResNet-v2 with a first stage of stride 8 (the atrous models).

Why: the OD API's TF2 extractor builds one Inception-ResNet-v2 and cuts both stages from it, so that stride 8 also
dilates the second stage and `Mixed_7a` gets padded; the model cannot be built, and at stride 16 it computes something
else than TF1 did (tensorflow/models#8963). TF1 built the second stage by itself, with a stride-2 unpadded Mixed_7a.
Here the second stage is cut from a second network of stride 16 without aligned feature maps: TF1's function.
Can go when: the OD API builds the two stages apart.
"""


def install() -> None:
    import tensorflow as tf
    from object_detection.models import faster_rcnn_inception_resnet_v2_keras_feature_extractor as extractor
    from object_detection.models.keras_models import inception_resnet_v2
    from object_detection.utils import model_util

    def get_box_classifier_feature_extractor_model(self, name=None):
        network = inception_resnet_v2.inception_resnet_v2(
            self._train_batch_norm,
            output_stride=16,
            align_feature_maps=False,
            weight_decay=self._weight_decay,
            weights=None,
            include_top=False,
        )
        with tf.name_scope(name), tf.name_scope("InceptionResnetV2"):
            model = model_util.extract_submodel(
                model=network,
                inputs=network.get_layer(name="block17_20_ac").output,
                outputs=network.get_layer(name="conv_7b_ac").output,
            )
            for variable in model.variables:
                self._variable_dict[variable.name[:-2]] = variable
            return model

    target = extractor.FasterRCNNInceptionResnetV2KerasFeatureExtractor
    target.get_box_classifier_feature_extractor_model = get_box_classifier_feature_extractor_model
