# The trainer: one process a GPU through torchrun.
#   docker build -f docker/trainer.Dockerfile -t clipsieve-trainer .
#   docker run --gpus all --ipc host -v /data:/data clipsieve-trainer --nproc-per-node 8 --no-python \
#     clipsieve train --shards /data/run/shards --subset /data/run/subsets/top40.npy --out /data/run/models/top40
FROM python:3.11-slim
WORKDIR /opt/clipsieve
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY clipsieve clipsieve
COPY schemas schemas
COPY pipelines pipelines
COPY training training
COPY evaluation evaluation
RUN pip install --no-cache-dir --constraint constraints.txt .
ENTRYPOINT ["torchrun"]
