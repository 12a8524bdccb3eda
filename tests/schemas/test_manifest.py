import hashlib
import json
import re

import pytest

from clipsieve.schemas import files, manifest
from clipsieve.schemas.counts import DownloadCounts, ScoreCounts, SelectionCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import (
    DownloadOptions,
    EvaluateOptions,
    ReshardOptions,
    ScoreOptions,
    SelectOptions,
    TokenizerOptions,
    TrainOptions,
)
from clipsieve.schemas.run import read_run
from clipsieve.schemas.training_data import TrainingData, WeightedSubset

SCORE = ScoreOptions(batch_size=8)


COUNTS = ScoreCounts(pairs=3, shards=1)


def finished(folder, recipe=SCORE, inputs=None, counts=COUNTS):
    begun = manifest.begin(str(folder), recipe, inputs or {"shards": "abc"})
    return manifest.finish(str(folder), begun, counts, "digest-of-data")


def test_what_was_finished_is_found_again(tmp_path):
    done = finished(tmp_path / "scores")
    again = manifest.begin(str(tmp_path / "scores"), SCORE, {"shards": "abc"})
    assert again == done
    assert again.complete
    assert again.counts == COUNTS


def test_another_recipe_is_refused_with_the_difference(tmp_path):
    manifest.begin(str(tmp_path), SCORE, {"shards": "abc"})
    with pytest.raises(InputError, match=r"half done .*`batch_size` was 8, now 16"):
        manifest.begin(str(tmp_path), ScoreOptions(batch_size=16), {"shards": "abc"})


def test_another_input_is_refused_with_the_difference(tmp_path):
    finished(tmp_path)
    with pytest.raises(InputError, match=rf"^{tmp_path}: done with another .*`shards` was 'abc', now 'def'"):
        manifest.begin(str(tmp_path), SCORE, {"shards": "def"})


def test_a_field_that_came_later_has_its_default_in_an_older_folder(tmp_path):
    """DownloadOptions had fewer fields once: a folder of then is resumed, unless a newer field is set."""
    recipe = DownloadOptions(shard_size=10)
    manifest.begin(str(tmp_path), recipe, {"pairs": "abc"})
    edit(tmp_path / "_manifest", recipe={"shard_size": 10, "image_size": 256})
    with pytest.raises(InputError, match=r"input: `encode_format` was 'jpg', now 'webp'\. "):
        manifest.begin(str(tmp_path), DownloadOptions(shard_size=10, encode_format="webp"), {"pairs": "abc"})
    assert manifest.begin(str(tmp_path), recipe, {"pairs": "abc"}).recipe == recipe


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", sorted(DownloadOptions.may_change))
def test_how_to_ask_may_change(tmp_path, name):
    """And the manifest says how it was asked last."""
    value = ("::1",) if name == "dns_servers" else 1
    recipe, other = DownloadOptions(), DownloadOptions(**{name: value})
    manifest.begin(str(tmp_path), recipe, {"pairs": "abc"})
    assert manifest.begin(str(tmp_path), other, {"pairs": "abc"}).recipe == other
    found = manifest.read_manifest(str(tmp_path))
    assert found is not None and getattr(found.recipe, name) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"batch_size": "eight"}}, r"manifest\.json: not a manifest of clipsieve \(Input should be a valid"),
        ({"recipe": {"batch": 8}}, r"manifest\.json: not a manifest of clipsieve \(Extra inputs are not permitted"),
        ({"stage": "sieve"}, r"'sieve' is not one of its stages, download, index, pack, score, drift, filter"),
    ],
)
def test_a_recipe_is_read_as_its_stage_s_options(tmp_path, changes, message):
    finished(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as raised:
        manifest.read_manifest(str(tmp_path))
    assert "\n" not in str(raised.value)


def mixture(*weights, path="subsets"):
    parts = zip(("top20", "top80"), weights, strict=True)
    return [WeightedSubset(name=n, path=f"{path}/{n}.npy", weight=w, digest=f"digest of {n}") for n, w in parts]


def test_a_mixture_is_recorded_part_by_part(tmp_path):
    manifest.begin(str(tmp_path), TrainOptions(), {"shards": "abc"}, subsets=mixture(0.7, 0.3))
    found = manifest.read_manifest(str(tmp_path))
    assert found is not None and found.subsets == mixture(0.7, 0.3)
    data = found.trained_on()
    assert data is not None and data.names == {"top20", "top80"} and not data.is_all
    assert (data.source, data.digest) == ("shards", "abc")
    assert [(name, pytest.approx(share)) for name, share in data.shares] == [("top20", 0.7), ("top80", 0.3)]
    again = manifest.begin(str(tmp_path), TrainOptions(), {"shards": "abc"}, subsets=mixture(0.7, 0.3, path="moved"))
    assert again.subsets == mixture(0.7, 0.3, path="moved")
    with pytest.raises(InputError, match=r"`subset` was 'top20=0\.7,top80=0\.3', now 'top20=0\.7,top80=1'"):
        manifest.begin(str(tmp_path), TrainOptions(), {"shards": "abc"}, subsets=mixture(0.7, 1))
    other = [mixture(0.7, 0.3)[0], mixture(0.7, 0.3)[1].model_copy(update={"digest": "other"})]
    with pytest.raises(InputError, match=r"`subset top80` was 'digest of top80', now 'other'"):
        manifest.begin(str(tmp_path), TrainOptions(), {"shards": "abc"}, subsets=other)


@pytest.mark.parametrize(
    ("options", "inputs", "expected"),
    [
        (TrainOptions(), {"shards": "abc"}, TrainingData((), "shards", "abc")),
        (TokenizerOptions(), {"pairs": "abc"}, TrainingData((), "pairs", "abc")),
        (ScoreOptions(), {"shards": "abc"}, None),
    ],
)
def test_what_was_trained_on_all_pairs_says_of_which(tmp_path, options, inputs, expected):
    assert manifest.begin(str(tmp_path), options, inputs).trained_on() == expected


def test_a_manifest_of_an_earlier_version_is_read(tmp_path):
    """The subset was a text of the recipe, its digest an input; `evaluate` kept its protocol in the recipe."""
    inputs = {"shards": "abc"}
    for folder, options, recipe, more in (
        ("models/best", TrainOptions(), {"subset": "top40"}, {"subset": "def"}),
        ("models/all", TrainOptions(), {"subset": None}, {}),
        ("resharded/top80", ReshardOptions(), {}, {"subset": "def"}),
        ("evaluations/best", EvaluateOptions(), {"protocol": 2}, {}),
    ):
        manifest.begin(str(tmp_path / folder), options, inputs)
        path = tmp_path / folder / "manifest.json"
        content = json.loads(path.read_text())
        del content["subsets"], content["protocol"]
        content["recipe"] |= recipe
        content["inputs"] |= more
        path.write_text(json.dumps(content))
    best, every, resharded, evaluated = (made.manifest for made in sorted_by_name(tmp_path))
    assert [each.given for each in (best, every, resharded)] == [
        inputs | {"subset top40": "def"},
        inputs,
        inputs | {"subset top80": "def"},
    ]
    assert (evaluated.protocol, evaluated.recipe) == (2, EvaluateOptions())
    assert best.recipe == every.recipe == TrainOptions()
    edit(tmp_path / "models" / "all", recipe={"subset": "top20=0.7,top80=0.3"}, inputs=inputs | {"subset": "def"})
    with pytest.raises(InputError, match=r"models/all: was trained on the mixture top20=0\.7,top80=0\.3 by an older"):
        read_run(str(tmp_path))


def sorted_by_name(run):
    order = ["models/best", "models/all", "resharded/top80", "evaluations/best"]
    return sorted(read_run(str(run)).made, key=lambda made: order.index(made.name))


def test_a_complete_folder_is_left_as_it_is(tmp_path):
    recipe = DownloadOptions(attempts=2, allow_hosts=("a:80", "b:80"))  # a tuple here is a list in the file
    done = finished(tmp_path, recipe, counts=downloaded(3))
    assert manifest.begin(str(tmp_path), recipe, {"shards": "abc"}) == done
    assert manifest.begin(str(tmp_path), recipe.model_copy(update={"attempts": 3}), {"shards": "abc"}) == done
    assert manifest.read_manifest(str(tmp_path)) == done


def test_a_manifest_is_text_for_people(tmp_path):
    finished(tmp_path, recipe=SelectOptions(where="title == 'Bär'"), counts=SelectionCounts(pairs=3, eligible=3))
    content = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert content == json.dumps(json.loads(content), indent=1, ensure_ascii=False) + "\n"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", json.loads(content)["finished_at"])


def test_what_may_change_is_of_the_options():
    assert DownloadOptions.may_change < set(DownloadOptions.model_fields)


def downloaded(success):
    return DownloadCounts(rows=3, duplicates=0, success=success)


def test_counts_of_another_stage_are_refused(tmp_path):
    with pytest.raises(InputError, match="the manifest of a folder of score has no DownloadCounts"):
        finished(tmp_path).counted(DownloadCounts)


def test_a_folder_is_added_to_and_remembers_what_it_was(tmp_path):
    first = finished(tmp_path, recipe=DownloadOptions(), counts=downloaded(3))
    for number in (1, 2):
        complete = manifest.read_manifest(str(tmp_path))
        assert complete is not None
        opened = manifest.reopen(str(tmp_path), complete, DownloadOptions(attempts=number), {"shards": "abc"})
        assert not opened.complete and manifest.read_manifest(str(tmp_path)) == opened
        with pytest.raises(InputError, match="download is not finished there"):
            manifest.input_digest(str(tmp_path))
        manifest.finish(str(tmp_path), opened, downloaded(number), f"digest {number}")
    last = manifest.read_manifest(str(tmp_path))
    assert last is not None and last.earlier[0] == first
    assert [each.counted(DownloadCounts).success for each in (*last.earlier, last)] == [3, 1, 2]
    assert all(each.earlier == [] for each in last.earlier)
    assert manifest.earlier_digests(str(tmp_path)) == ["digest-of-data", "digest 1"]


def test_a_complete_folder_is_opened_again_when_its_input_has_grown(tmp_path):
    done = finished(tmp_path)
    grown = {"shards": ["older", "abc"]}
    opened = manifest.begin(str(tmp_path), SCORE, {"shards": "new"}, grown)
    assert not opened.complete and opened.inputs == {"shards": "new"} and opened.earlier == [done]
    again = manifest.begin(str(tmp_path), SCORE, {"shards": "newest"}, {"shards": ["abc", "new"]})
    assert again.inputs == {"shards": "newest"} and again.earlier == [done]
    with pytest.raises(InputError, match=r"half done .*`shards` was 'newest', now 'other'"):
        manifest.begin(str(tmp_path), SCORE, {"shards": "other"}, grown)


def test_another_stage_is_refused(tmp_path):
    finished(tmp_path)
    with pytest.raises(InputError, match="holds the output of score, not of select"):
        manifest.begin(str(tmp_path), SelectOptions(), {})


def test_no_json_stands_beside_shards(tmp_path):
    """img2dataset's incremental mode reads every *.json there as a shard's stats."""
    finished(tmp_path / "anything", recipe=DownloadOptions(), counts=downloaded(3))
    assert files.list_files(str(tmp_path / "anything"), ".json") == []
    found = manifest.read_manifest(str(tmp_path / "anything"))
    assert found is not None
    assert found.stage == "download"


def test_an_unfinished_input_is_refused(tmp_path):
    manifest.begin(str(tmp_path), SCORE, {})
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
        lambda: manifest.begin(folder, SCORE, {"shards": "abc"}),
    ):
        with pytest.raises(InputError, match=f"^{folder}: a takedown is half done there; run it again"):
            attempt()
    record = manifest.Takedown(
        opt_out="list", begun_at="1", finished_at="2", pairs=1, counts=done.counts, digests=["digest-of-data"]
    )
    changed = half.model_copy(update={"counts": ScoreCounts(pairs=2, shards=1), "digest": "less"})
    after = manifest.finish_takedown(folder, changed, record)
    assert after == manifest.read_manifest(folder)
    assert (after.complete, after.takedowns, after.digest) == (True, [record], "less")
    assert manifest.known_digests(after) == {"less", "digest-of-data"}
    again = manifest.finish_takedown(folder, after, None)
    assert again.complete and again.takedowns == [record]
    opened = manifest.reopen(folder, again, SCORE, {"shards": "new"})
    assert opened.takedowns == [record] and opened.earlier[0].takedowns == []
    assert manifest.known_digests(opened) >= {"less", "digest-of-data"}


def test_a_folder_whose_input_is_refused_before_any_data_is_as_if_not_begun(tmp_path):
    empty, filled = str(tmp_path / "empty"), str(tmp_path / "filled")
    for folder in (empty, filled):
        manifest.begin(folder, SCORE, {})
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
    done = finished(tmp_path, counts=ScoreCounts(pairs=1_234, shards=5))
    assert done.line("scores") == "scores: pairs 1,234, shards 5"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_write(str(tmp_path / "a")) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_whole_run_gathers_is_no_folder_s_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text('{"stages": {}}')
    assert manifest.read_manifest(str(tmp_path)) is None
