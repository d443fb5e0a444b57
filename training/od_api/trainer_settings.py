"""What a pipeline.config says to the trainer that the OD API has no field for.

TrainEvalPipelineConfig is open to extensions from number 1000 on; this is one of them:

    [face_detector.trainer] {
      evaluate_every: 200
      face_crop { share: 0.5 }
    }

| field | default | what it is |
|---|---|---|
| evaluate_every | 200 | steps between evaluations on the validation records; 0: only at the end |
| patience | 5 | training stops after so many evaluations in turn without a better figure; 0: never |
| metric | "AP50" | the figure that decides which evaluation is better: one of METRICS |
| save_every | 100 | steps between checkpoints |
| accumulate | 1 | batches whose gradients are added up to one step |
| batch_norm_batches | 24 | training batches to measure batch norm's statistics on, before evaluation and export |
| smallest_face | 8 | pixels at the model's input, square root of the area; smaller faces get weight 0 |
| head_only_steps | 0 | so many first steps train the predictors only, with the backbone frozen |
| face_crop | absent | crops around a face, made by means, as images then are later, too; absent: none |
| face_crop.share | 0.8 | of the images, the share that is cropped, 0..1 |
| face_crop.min_size, max_size | 12, 160 | pixels at the model's input; the face's size, log-uniform between them |
| face_crop.max_zoom | 2.5 | a crop is enlarged by no more than this |
| seed | 0 | of the initial values, the order of the images and the augmentation |
| start | absent | what to take of a checkpoint, where the command line does not say it; one for each checkpoint |
| start.checkpoint | "" | the name of the folder that the checkpoint lies in, as `make checkpoint` names it |
| start.class_from | "" | as --class-from |
| start.reinitialise | none | as --reinitialise; repeated |
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message
from object_detection.protos import pipeline_pb2

METRICS = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR", "AR_small", "AR_medium", "AR_large"),
)  # as evaluation.coco names them

_FILE = text_format.Parse(
    """
    name: "face_detector/trainer.proto" package: "face_detector" syntax: "proto2"
    dependency: "object_detection/protos/pipeline.proto"
    message_type {
      name: "Trainer"
      field { name: "evaluate_every" number: 1 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "200" }
      field { name: "patience" number: 2 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "5" }
      field { name: "metric" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL default_value: "AP50" }
      field { name: "save_every" number: 4 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "100" }
      field { name: "accumulate" number: 5 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "1" }
      field { name: "batch_norm_batches" number: 6 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "24" }
      field { name: "smallest_face" number: 7 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "8" }
      field { name: "head_only_steps" number: 8 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "0" }
      field { name: "face_crop" number: 9 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "FaceCrop" }
      field { name: "seed" number: 10 type: TYPE_UINT32 label: LABEL_OPTIONAL default_value: "0" }
      field { name: "start" number: 11 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: "Start" }
    }
    message_type {
      name: "Start"
      field { name: "checkpoint" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "class_from" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "reinitialise" number: 3 type: TYPE_STRING label: LABEL_REPEATED }
    }
    message_type {
      name: "FaceCrop"
      field { name: "share" number: 1 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "0.8" }
      field { name: "min_size" number: 2 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "12" }
      field { name: "max_size" number: 3 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "160" }
      field { name: "max_zoom" number: 4 type: TYPE_FLOAT label: LABEL_OPTIONAL default_value: "2.5" }
    }
    extension {
      name: "trainer" number: 1000 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: "Trainer"
      extendee: ".object_detection.protos.TrainEvalPipelineConfig"
    }
    """,
    descriptor_pb2.FileDescriptorProto(),
)
# The file that pipeline_pb2 registered, by whatever name it did.
_FILE.dependency[:] = [pipeline_pb2.DESCRIPTOR.name]
# In the OD API's pool, so that everything that reads a pipeline.config knows the extension.
_POOL = descriptor_pool.Default()
_POOL.Add(_FILE)
TRAINER = _POOL.FindExtensionByName("face_detector.trainer")
Trainer = message_factory.GetMessageClass(TRAINER.message_type)


def settings(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> Message:
    """The Trainer message of a config; one of defaults where it has none."""
    return pipeline.Extensions[TRAINER]


def by_means(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> bool:
    """Whether the network learns from images that were brought to its input's size by means: the trainer's crops.

    So it has to see them later. Without crops it is the OD API that resizes (see detect_faces.resizing).
    """
    return settings(pipeline).HasField("face_crop")


def removed(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> pipeline_pb2.TrainEvalPipelineConfig:
    """A copy of a config without the trainer's settings, which an OD API without this extension refuses to read."""
    done = pipeline_pb2.TrainEvalPipelineConfig()
    done.CopyFrom(pipeline)
    done.ClearExtension(TRAINER)
    return done


def spelled_out(pipeline: pipeline_pb2.TrainEvalPipelineConfig) -> pipeline_pb2.TrainEvalPipelineConfig:
    """A copy of a config in which the trainer's settings stand with their values, where they are defaults, too."""
    done = pipeline_pb2.TrainEvalPipelineConfig()
    done.CopyFrom(pipeline)
    trainer = done.Extensions[TRAINER]
    for message in (trainer, *([trainer.face_crop] if trainer.HasField("face_crop") else [])):
        for field in message.DESCRIPTOR.fields:
            if not field.message_type:
                setattr(message, field.name, getattr(message, field.name))
    return done
