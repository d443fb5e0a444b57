"""Shim: `class_prediction_bias_init` for depthwise class predictors.

Why: the OD API's ConvolutionalClassHead hands the value on to a plain convolution but not to the depthwise separable
one of SSDLite, whose bias then starts at 0: every anchor believes in a face with 50 %, and focal loss starts thirty
times higher than it should (seen on the first batch of WIDER FACE: 35.6 against 1.1).
Can go when: the OD API's head passes it on in both branches.
"""


def install() -> None:
    import tensorflow as tf
    from object_detection.predictors.heads.keras_class_head import ConvolutionalClassHead

    original = ConvolutionalClassHead.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        predictor = self._class_predictor_layers[-1]
        predictor.bias_initializer = tf.keras.initializers.Constant(self._class_prediction_bias_init)

    ConvolutionalClassHead.__init__ = init
