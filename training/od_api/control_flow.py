"""Shim: case, cond and while_loop under their old home, tensorflow.python.ops.control_flow_ops.

Why: tf_slim 1.1.0, whose TFExample decoder reads the OD API's records, calls them there; TensorFlow 2.13 moved them.
Can go when: tf_slim has a release after 1.1.0 that calls the public tf.case, tf.cond and tf.while_loop.
"""


def install() -> None:
    from tensorflow.python.ops import cond, control_flow_case, control_flow_ops, while_loop

    for name, function in (
        ("case", control_flow_case.case),
        ("cond", cond.cond),
        ("while_loop", while_loop.while_loop),
    ):
        if not hasattr(control_flow_ops, name):
            setattr(control_flow_ops, name, function)
