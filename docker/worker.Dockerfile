# The Beam worker of Dataflow, Flink and Spark: Beam's own SDK image with this project's pinned dependencies.
#   docker build -f docker/worker.Dockerfile -t REGISTRY/clipsieve-worker .
FROM apache/beam_python3.11_sdk:2.77.0
WORKDIR /opt/clipsieve
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY clipsieve clipsieve
COPY schemas schemas
COPY pipelines pipelines
COPY training training
COPY evaluation evaluation
RUN pip install --no-cache-dir --constraint constraints.txt .
