"""Training batches: where the boxes are after augmentation and resizing, and which of them count."""

import numpy as np
import pytest
import tensorflow as tf

from training.od_api import inputs, pipeline, trainer_settings

pytestmark = pytest.mark.filterwarnings("ignore:.*set_learning_phase")


@pytest.fixture
def batches(face_model, label_map, training_batches):
    """A function from records to batches as numpy arrays: [(features, labels)]."""

    def make(records, count=1, batch_size=1, crops=False):
        config = pipeline.complete(
            pipeline.load("ssdlite_mobilenet_v2_320_face"),
            records=[records],
            label_map=label_map,
            batch_size=batch_size,
        )
        options = config.train_config.data_augmentation_options
        kept = [option for option in options if crops and option.HasField("random_horizontal_flip")]
        del options[:]
        options.extend(kept)
        if not crops:
            trainer_settings.settings(config).ClearField("face_crop")
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), training_batches(config, face_model, count))

    return make


def faces(labels, index=0):
    """The boxes (N, 4) yxyx of one image without the padding, and their weights."""
    count = labels["num_groundtruth_boxes"][index]
    assert not labels["groundtruth_boxes"][index, count:].any()
    return labels["groundtruth_boxes"][index, :count], labels["groundtruth_weights"][index, :count]


def test_an_image_without_faces(batches, record):
    ((features, labels),) = batches(record(np.zeros((0, 4))))
    assert features[inputs.IMAGE].shape == (1, 320, 320, 3)
    assert len(faces(labels)[0]) == 0


def test_letterbox_and_weights(batches, record):
    boxes = [
        [64, 96, 164, 196],
        [300, 0, 316.2, 16.2],
        [400, 0, 415.8, 15.8],
        [200, 300, 300, 400],
        [600, 440, 640, 480],
    ]
    ((features, labels),) = batches(record(boxes, ignore=[0, 0, 0, 1, 0]))
    assert features[inputs.TRUE_SHAPE].tolist() == [[240, 320, 3]]
    image = features[inputs.IMAGE][0]
    assert image[:240].max() == pytest.approx(1, abs=0.05) and image[:240].min() == pytest.approx(-1, abs=0.05)
    assert not image[241:].any()  # mid grey
    found, weights = faces(labels)
    # pixels of 640 x 480, halved, in fractions of 320 x 320
    assert found == pytest.approx(np.array(boxes)[:, [1, 0, 3, 2]] / 640, abs=1e-5)
    # 8.1 pixels at the input count, 7.9 don't; a box to ignore doesn't
    assert weights.tolist() == [1, 1, 0, 0, 1]
    assert labels["groundtruth_classes"][0, :5].tolist() == [[1]] * 5


def test_no_face_of_a_crowd_is_lost(batches, record):
    """As many faces as the fullest photograph of WIDER FACE has."""
    corners = np.stack(np.meshgrid(np.arange(48) * 13, np.arange(41) * 11), -1).reshape(-1, 2)
    boxes = np.concatenate([corners, corners + 9], axis=1)
    ((_, labels),) = batches(record(boxes))
    found, _ = faces(labels)
    assert len(found) == 1968
    assert found == pytest.approx(boxes[:, [1, 0, 3, 2]] / 640, abs=1e-5)


def test_after_augmentation_the_boxes_are_still_on_the_faces(batches, record):
    boxes = [[64, 96, 194, 256], [400, 200, 520, 350]]
    seen, sizes, counted = 0, [], 0
    for features, labels in batches(record(boxes, copies=8), 12, batch_size=4, crops=True):
        for index, image in enumerate(features[inputs.IMAGE]):
            found, weights = faces(labels, index)
            assert set(weights) <= {0, 1}
            assert np.all((found >= 0) & (found <= 1)) and np.all(found[:, :2] < found[:, 2:])
            height, width = features[inputs.TRUE_SHAPE][index][:2]
            inside = np.zeros(image.shape[:2], bool)
            for y_min, x_min, y_max, x_max in np.round(found * 320).astype(int):
                inside[max(y_min - 3, 0) : y_max + 3, max(x_min - 3, 0) : x_max + 3] = True
                core = image[y_min + 3 : y_max - 3, x_min + 3 : x_max - 3]
                counted += core.size > 0
                sizes.append(y_max - y_min)
                if core.size:
                    assert core.max() < 0.2, "a box that is not all on its face"
            outside = image[:height, :width][~inside[:height, :width]]
            if outside.size and len(found) == 2:
                assert outside.min() > -0.2, "a face that sticks out of its box"
            seen += len(found)
    assert seen >= 48 and counted > 40
    assert max(sizes) > 2 * min(sizes)  # crops of several scales


def test_drawn_boxes(batches, record):
    ((features, labels),) = batches(record([[64, 96, 164, 196], [400, 0, 412, 12]]))
    image = inputs.drawn(features, labels)[0].numpy()
    assert image.min() >= 0 and image.max() <= 1
    counts, too_small = image[44:104, 28:88], image[:10, 196:210]
    green, red = ([0, 1, 0], [1, 0, 0])
    assert np.isclose(counts, green).all(-1).sum() == pytest.approx(4 * 50, abs=12)
    assert np.isclose(too_small, red).all(-1).sum() == pytest.approx(4 * 6, abs=8)
    for region, colour in ((counts, green), (too_small, red)):
        elsewhere = np.isclose(image, colour).all(-1).sum() - np.isclose(region, colour).all(-1).sum()
        assert elsewhere <= 1  # the padding is a dot in the corner


def test_colours_are_changed_as_the_od_api_draws_them(face_model, label_map, training_batches, record):
    """By its own functions or by ours: the same spread of brightness, and grey as often."""

    def images(first):
        config = pipeline.complete(
            pipeline.load("ssdlite_mobilenet_v2_320_face"), records=[records], label_map=label_map, batch_size=8
        )
        options = config.train_config.data_augmentation_options
        del options[:]
        if first:  # behind which colours stay the OD API's
            options.add().random_black_patches.probability = 0
        options.add().random_adjust_brightness.max_delta = 0.2
        options.add().random_rgb_to_gray.probability = 0.5
        found = training_batches(config, face_model, 12)
        return np.concatenate([features[inputs.IMAGE].numpy() for features, _ in found])

    records = record([[200, 200, 260, 260]], ground=(120, 80, 60))
    ours, theirs = images(first=False), images(first=True)
    grey = [(np.ptp(found, axis=-1).max((1, 2)) < 0.01).mean() for found in (ours, theirs)]
    assert grey == pytest.approx([0.5, 0.5], abs=0.2)
    spread = [found.mean(-1).max((1, 2)) for found in (ours, theirs)]
    for end in (np.min, np.max):
        assert end(spread[0]) == pytest.approx(end(spread[1]), abs=0.1)
    assert np.ptp(spread[0]) > 0.5
