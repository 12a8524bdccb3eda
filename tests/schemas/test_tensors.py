"""What is written next to safetensors' own bytes, and in how much memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import fsspec
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.tensors import write_tensors

TYPES = (torch.float32, torch.bfloat16, torch.int64)
"""Of checkpoints. Of others of one size safetensors has an order of its own, which readers need not keep to."""
MANY = 16 << 20
"""Bytes; more than is written at once."""

tensors_by_name = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.builds(
        lambda shape, kind: torch.arange(torch.Size(shape).numel()).reshape(shape).to(kind),
        st.lists(st.integers(0, 4), max_size=3),
        st.sampled_from(TYPES),
    ),
    max_size=5,
)


@given(tensors_by_name, st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=1))
def test_the_bytes_are_those_of_safetensors(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.mktemp("tensors") / "file.safetensors"
    write_tensors(str(path), tensors, metadata)
    assert path.read_bytes() == safetensors.torch.save(tensors, metadata or None)


def test_every_type_is_read_back(tmp_path):
    types = (*TYPES, torch.float64, torch.float16, torch.int32, torch.uint8, torch.bool)
    tensors = {str(kind): torch.arange(5).to(kind) for kind in types}
    path = str(tmp_path / "file.safetensors")
    write_tensors(path, tensors)
    read = safetensors.torch.load_file(path)
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_no_copy_is_made(tmp_path):
    tensors = {"large": torch.zeros(MANY, dtype=torch.uint8), "small": torch.ones(3)}
    tracemalloc.start()
    try:
        write_tensors(str(tmp_path / "file.safetensors"), tensors)
        assert tracemalloc.get_traced_memory()[1] < MANY / 2
    finally:
        tracemalloc.stop()
    assert [path.name for path in Path(tmp_path).iterdir()] == ["file.safetensors"]


def test_an_object_store_gets_the_same():
    tensors = {"large": torch.arange(MANY // 8), "scalar": torch.tensor(5.0)}
    write_tensors("memory://tensors/file.safetensors", tensors)
    with fsspec.open("memory://tensors/file.safetensors", "rb") as stream:
        assert stream.read() == safetensors.torch.save(tensors)
