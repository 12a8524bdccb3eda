import pytest

from schemas import files, manifest
from schemas.errors import InputError


def finished(folder, stage="score", recipe=None, inputs=None):
    begun = manifest.begin(str(folder), stage, recipe or {"batch_size": 8}, inputs or {"shards": "abc"})
    return manifest.finish(str(folder), begun, {"pairs": 3}, "digest-of-data")


def test_what_was_finished_is_found_again(tmp_path):
    done = finished(tmp_path / "scores")
    again = manifest.begin(str(tmp_path / "scores"), "score", {"batch_size": 8}, {"shards": "abc"})
    assert again == done
    assert again.complete
    assert again.counts == {"pairs": 3}


def test_another_recipe_is_refused_with_the_difference(tmp_path):
    manifest.begin(str(tmp_path), "score", {"batch_size": 8}, {"shards": "abc"})
    with pytest.raises(InputError, match=r"half done .*batch_size was 8, now 16"):
        manifest.begin(str(tmp_path), "score", {"batch_size": 16}, {"shards": "abc"})


def test_another_input_is_refused_with_the_difference(tmp_path):
    finished(tmp_path)
    with pytest.raises(InputError, match=r"done with another .*shards was 'abc', now 'def'"):
        manifest.begin(str(tmp_path), "score", {"batch_size": 8}, {"shards": "def"})


def test_another_stage_is_refused(tmp_path):
    finished(tmp_path)
    with pytest.raises(InputError, match="holds the output of score, not of select"):
        manifest.begin(str(tmp_path), "select", {}, {})


def test_no_json_stands_beside_shards(tmp_path):
    """img2dataset's incremental mode reads every *.json there as a shard's stats."""
    finished(tmp_path / "anything", stage="download")
    assert files.list_files(str(tmp_path / "anything"), ".json") == []
    found = manifest.read_manifest(str(tmp_path / "anything"))
    assert found is not None
    assert found.stage == "download"


def test_an_unfinished_input_is_refused(tmp_path):
    manifest.begin(str(tmp_path), "score", {}, {})
    with pytest.raises(InputError, match="score is not finished there"):
        manifest.input_digest(str(tmp_path))


def test_the_digest_of_an_input(tmp_path):
    finished(tmp_path / "ours")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "00000.tar").write_bytes(b"x")
    before = manifest.input_digest(str(foreign))
    (foreign / "00000.tar").write_bytes(b"xy")
    assert manifest.input_digest(str(tmp_path / "ours")) == "digest-of-data"
    assert manifest.input_digest(str(foreign)) != before
    with pytest.raises(InputError, match="no such file or folder"):
        manifest.input_digest(str(tmp_path / "nowhere"))


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_write(str(tmp_path / "a")) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
