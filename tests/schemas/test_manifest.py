import hashlib
import json
import re

import pytest

from clipsieve.schemas import files, manifest
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import DownloadOptions


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
    with pytest.raises(InputError, match=rf"^{tmp_path}: done with another .*shards was 'abc', now 'def'"):
        manifest.begin(str(tmp_path), "score", {"batch_size": 8}, {"shards": "def"})


def test_a_field_that_came_later_has_its_default_in_an_older_folder(tmp_path):
    """DownloadOptions had fewer fields once: a folder of then is gone on with, unless a newer field is set."""
    older = {"shard_size": 10, "image_size": 256}
    manifest.begin(str(tmp_path), "download", older, {"pairs": "abc"})
    now = DownloadOptions(shard_size=10).model_dump(mode="json")
    with pytest.raises(InputError, match=r"input: encode_format was 'jpg', now 'webp'\. "):
        manifest.begin(str(tmp_path), "download", {**now, "encode_format": "webp"}, {"pairs": "abc"})
    assert manifest.begin(str(tmp_path), "download", now, {"pairs": "abc"}).recipe == now


@pytest.mark.parametrize("name", sorted(DownloadOptions.may_change))
def test_how_to_ask_may_change(tmp_path, name):
    """And the manifest says how it was asked last."""
    recipe = DownloadOptions().model_dump(mode="json")
    manifest.begin(str(tmp_path), "download", recipe, {"pairs": "abc"})
    assert manifest.begin(str(tmp_path), "download", {**recipe, name: 0.5}, {"pairs": "abc"}).recipe[name] == 0.5
    found = manifest.read_manifest(str(tmp_path))
    assert found is not None and found.recipe[name] == 0.5


def test_a_complete_folder_is_left_as_it_is(tmp_path):
    recipe = {"attempts": 2, "allow_hosts": ("a:80", "b:80")}  # a tuple here is a list in the file
    done = finished(tmp_path, "download", recipe)
    assert manifest.begin(str(tmp_path), "download", recipe, {"shards": "abc"}) == done
    assert manifest.begin(str(tmp_path), "download", {**recipe, "attempts": 3}, {"shards": "abc"}) == done
    assert manifest.read_manifest(str(tmp_path)) == done


def test_a_manifest_is_text_for_people(tmp_path):
    finished(tmp_path, recipe={"batch_size": 8, "where": "Bär"})
    content = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert content == json.dumps(json.loads(content), indent=1, ensure_ascii=False) + "\n"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", json.loads(content)["finished_at"])


def test_what_may_change_is_of_the_options():
    assert DownloadOptions.may_change < set(DownloadOptions.model_fields)


def test_a_folder_is_added_to_and_remembers_what_it_was(tmp_path):
    first = finished(tmp_path, stage="download")
    for number in (1, 2):
        complete = manifest.read_manifest(str(tmp_path))
        assert complete is not None
        opened = manifest.reopen(str(tmp_path), complete, {"attempts": number}, {"shards": "abc"})
        assert not opened.complete and manifest.read_manifest(str(tmp_path)) == opened
        with pytest.raises(InputError, match="download is not finished there"):
            manifest.input_digest(str(tmp_path))
        manifest.finish(str(tmp_path), opened, {"pairs": number}, f"digest {number}")
    last = manifest.read_manifest(str(tmp_path))
    assert last is not None and last.earlier[0] == first
    assert [each.counts["pairs"] for each in (*last.earlier, last)] == [3, 1, 2]
    assert all(each.earlier == [] for each in last.earlier)
    assert manifest.earlier_digests(str(tmp_path)) == ["digest-of-data", "digest 1"]


def test_a_complete_folder_is_opened_again_when_its_input_has_grown(tmp_path):
    done = finished(tmp_path)
    grown = {"shards": ["older", "abc"]}
    opened = manifest.begin(str(tmp_path), "score", {"batch_size": 8}, {"shards": "new"}, grown)
    assert not opened.complete and opened.inputs == {"shards": "new"} and opened.earlier == [done]
    again = manifest.begin(str(tmp_path), "score", {"batch_size": 8}, {"shards": "newest"}, {"shards": ["abc", "new"]})
    assert again.inputs == {"shards": "newest"} and again.earlier == [done]
    with pytest.raises(InputError, match=r"half done .*shards was 'newest', now 'other'"):
        manifest.begin(str(tmp_path), "score", {"batch_size": 8}, {"shards": "other"}, grown)


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


def test_the_digest_of_a_foreign_folder_is_of_its_files_names_and_sizes(tmp_path):
    (tmp_path / "b.tar").write_bytes(b"xy")
    (tmp_path / "a.tar").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    assert manifest.input_digest(str(tmp_path)) == files.sha256_text("a.tar 1", "b.tar 2")
    assert manifest.input_digest(str(tmp_path / "a.tar")) == hashlib.sha256(b"x").hexdigest()
    assert manifest.earlier_digests(str(tmp_path)) == []


def test_a_folder_that_a_takedown_changes_is_closed_until_it_ends(tmp_path):
    folder = str(tmp_path)
    done = finished(tmp_path)
    manifest.begin_takedown(folder, done)
    half = manifest.read_manifest(folder)
    assert half is not None and half.status == "takedown" and not half.complete
    for attempt in (
        lambda: manifest.input_digest(folder),
        lambda: manifest.begin(folder, "score", {"batch_size": 8}, {"shards": "abc"}),
    ):
        with pytest.raises(InputError, match=f"^{folder}: a takedown is half done there; run it again"):
            attempt()
    record = manifest.Takedown(
        opt_out="list", begun_at="1", finished_at="2", pairs=1, counts=done.counts, digests=["digest-of-data"]
    )
    changed = half.model_copy(update={"counts": {"pairs": 2}, "digest": "less"})
    after = manifest.finish_takedown(folder, changed, record)
    assert after == manifest.read_manifest(folder)
    assert (after.complete, after.takedowns, after.digest) == (True, [record], "less")
    assert manifest.known_digests(after) == {"less", "digest-of-data"}
    again = manifest.finish_takedown(folder, after, None)
    assert again.complete and again.takedowns == [record]
    opened = manifest.reopen(folder, again, {"batch_size": 8}, {"shards": "new"})
    assert opened.takedowns == [record] and opened.earlier[0].takedowns == []
    assert manifest.known_digests(opened) >= {"less", "digest-of-data"}


def test_a_folder_whose_input_is_refused_before_any_data_is_as_if_not_begun(tmp_path):
    empty, filled = str(tmp_path / "empty"), str(tmp_path / "filled")
    for folder in (empty, filled):
        manifest.begin(folder, "score", {}, {})
    (tmp_path / "filled" / "00000.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="no"), manifest.withdrawn_if_empty(empty, filled):
        raise InputError("no")
    assert manifest.read_manifest(empty) is None
    assert manifest.read_manifest(filled) is not None
    with pytest.raises(RuntimeError), manifest.withdrawn_if_empty(filled):
        raise RuntimeError
    assert manifest.read_manifest(filled) is not None


def test_what_is_no_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"stage": "score"}')
    with pytest.raises(InputError, match=f"^{tmp_path}/manifest.json: not a manifest of clipsieve"):
        manifest.read_manifest(str(tmp_path))


def test_a_line_shows_the_counts(tmp_path):
    done = finished(tmp_path).model_copy(update={"counts": {"pairs": 1_234, "rows": 5}})
    assert done.line("scores") == "scores: pairs 1,234, rows 5"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_write(str(tmp_path / "a")) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
