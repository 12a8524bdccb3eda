"""From a table of pairs to subsets: download, score, drift, filter, dedup, select, reshard."""

from __future__ import annotations

from typing import Annotated

import rich
import typer

from clipsieve.app import app
from clipsieve.schemas import options as stages
from clipsieve.schemas.options.flags import BEAM, OptOutList, Out, beam_args, with_flags
from clipsieve.schemas.terminal import say


@app.command(context_settings=BEAM)
@with_flags(stages.DownloadOptions)
def download(
    context: typer.Context,
    pairs: Annotated[str, typer.Option(help="Parquet, CSV, TSV or JSON with url and caption columns")],
    out: Out,
    options: stages.DownloadOptions,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="retry the retryable failures")] = False,
    opt_out: OptOutList = None,
) -> None:
    """Download pairs into shards that img2dataset's readers read.

    Example: `clipsieve download --pairs pairs.parquet --out run/shards -- --runner=DataflowRunner --project=mine`
    """
    from clipsieve.pipelines.download import job

    say(job.run(pairs, out, options, beam_args(context), retry_failed, opt_out).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.IndexOptions)
def index(
    context: typer.Context,
    shards: Annotated[list[str], typer.Option(help="folder of tars that another tool wrote; may be repeated")],
    out: Out,
    options: stages.IndexOptions,
) -> None:
    """Index the shards of img2dataset, DataComp or any webdataset, so that every command reads them where they are.

    Example: `clipsieve index --shards laion/shards --out run/shards`, then `clipsieve train --shards run/shards …`
    """
    from clipsieve.pipelines.index import job

    say(job.run(shards, out, options, beam_args(context)).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.IndexOptions)
def adopt(
    context: typer.Context,
    shards: Annotated[list[str], typer.Option(help="folder of tars that another tool wrote; may be repeated")],
    out: Annotated[str, typer.Option("--out", help="run's folder; the index is its shards/")],
    options: stages.IndexOptions,
) -> None:
    """Make a run of another tool's shards, which stay where they are: `index` into the run's folder of shards.

    Example: `clipsieve adopt --shards laion/shards --out run`, then `clipsieve score --shards run/shards …`
    """
    from clipsieve.pipelines.index import job
    from clipsieve.schemas.stages import STAGES

    folder = STAGES["index"].folder(out)
    say(job.run(shards, folder, options, beam_args(context)).line(folder))


@app.command(context_settings=BEAM)
@with_flags(stages.PackOptions)
def pack(
    context: typer.Context,
    pictures: Annotated[
        str,
        typer.Argument(
            metavar="PICTURES",
            help="folder of pictures with .txt or .json next to them, or table of paths and captions",
        ),
    ],
    out: Out,
    options: stages.PackOptions,
    root: Annotated[
        str | None, typer.Option(help="folder below which files may be read; default: PICTURES, or the table's folder")
    ] = None,
    opt_out: OptOutList = None,
) -> None:
    """Pack local pictures with captions into shards as `download` writes them.

    Example: `clipsieve pack photos --out run/shards`

    A table (Parquet, CSV, TSV, JSON) names files by their paths: `clipsieve pack photos.csv --out run/shards`
    """
    from clipsieve.pipelines.pack import job

    say(job.run(pictures, out, options, beam_args(context), root, opt_out).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.ScoreOptions)
def score(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards, or of stored embeddings")],
    out: Out,
    options: stages.ScoreOptions,
    opt_out: OptOutList = None,
) -> None:
    """Score how well each image matches its caption, with one or more reference CLIPs.

    Example: `clipsieve score --shards run/shards --out run/scores --reference builtin`

    Embeddings that clip-retrieval wrote need no model: `clipsieve score --shards embeddings --out run/scores
    --reference stored`
    """
    from clipsieve.pipelines.score import job

    say(job.run(shards, out, options, beam_args(context), opt_out).line(out))


@app.command()
@with_flags(stages.DriftOptions)
def drift(
    shards: Annotated[str, typer.Option(help="folder of shards")],
    published: Annotated[str, typer.Option(help="the pool's published table: a Parquet file, or a folder of them")],
    out: Out,
    options: stages.DriftOptions,
    scores: Annotated[str | None, typer.Option(help="scores of the shards under the published reference")] = None,
) -> None:
    """Say which downloaded images are not what the pool's publisher saw.

    Example: `clipsieve drift --shards run/shards --scores run/scores --published metadata --out run/drift --column
    similarity=clip_l14_similarity_score`, then `clipsieve filter --drift run/drift --rule drifted …`
    """
    from clipsieve.pipelines.drift import job
    from clipsieve.pipelines.drift.show import drift_table

    say(job.run(shards, published, out, options, scores).line(out))
    rich.print(drift_table(out))


def _list_rules(asked: bool) -> None:
    if asked:
        from clipsieve.pipelines.filters.show import rules_table

        rich.print(rules_table())
        raise typer.Exit


@app.command(context_settings=BEAM)
@with_flags(stages.FilterOptions)
def filter(
    context: typer.Context,
    scores: Annotated[str, typer.Option(help="folder of Parquet files with uid, as `score` writes them")],
    out: Out,
    options: stages.FilterOptions,
    shards: Annotated[str | None, typer.Option(help="shards with columns that the scores lack")] = None,
    drift: Annotated[str | None, typer.Option(help="folder of `drift`, with columns that the scores lack")] = None,
    targets: Annotated[str | None, typer.Option(help="image_based: target embeddings, npy, npz or folder")] = None,
    list_rules: Annotated[bool, typer.Option("--list", is_eager=True, callback=_list_rules, help="list rules")] = False,
) -> None:
    """Say which pairs may be selected, by named rules and conditions, and why the others may not.

    Example: `clipsieve filter --shards run/shards --scores run/scores --out run/filters --rule basic --rule
    "weak: similarity >= 0.28"`
    """
    from clipsieve.pipelines.filters import job
    from clipsieve.pipelines.filters.show import waterfall_table

    say(job.run(scores, out, options, beam_args(context), shards, targets, drift).line(out))
    rich.print(waterfall_table(out))


@app.command(context_settings=BEAM)
@with_flags(stages.DedupOptions)
def dedup(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards, with hashes and images")],
    scores: Annotated[str, typer.Option(help="folder of score files, as `score` writes them")],
    out: Out,
    options: stages.DedupOptions,
    tasks: Annotated[str | None, typer.Option(help="tasks (wds_NAME) whose images no pair may repeat")] = None,
) -> None:
    """Say which pairs repeat a better scored one, or an image of an evaluation task.

    Example: `clipsieve dedup --shards run/shards --scores run/scores --out run/dedup --method exact --method thumbnail`
    """
    from clipsieve.pipelines.dedup import job

    say(job.run(shards, scores, out, options, beam_args(context), tasks).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.SelectOptions)
def select(
    context: typer.Context,
    scores: Annotated[str, typer.Option(help="folder of Parquet files with uid and a score, or one such file")],
    out: Annotated[str, typer.Option("--out", help="folder to write selection/, subsets/ and samples/ into")],
    options: stages.SelectOptions,
    opt_out: OptOutList = None,
    filters: Annotated[str | None, typer.Option(help="folder with reject_reason, as `filter` writes it")] = None,
    dedup: Annotated[str | None, typer.Option(help="folder with duplicate_of, as `dedup` writes it")] = None,
    members: Annotated[
        list[str] | None, typer.Option(help="subset file to select from; several: from what all of them hold")
    ] = None,
) -> None:
    """Cut exact top-q% subsets and nested samples from the scores.

    Example: `clipsieve select --scores run/scores --out run --fraction 20 --fraction 40 --size 10M`

    DataComp's metadata selects as it is: `clipsieve select --scores metadata --score-column clip_l14_similarity_score
    --where "original_width >= 200" --combination top30_10M --out run`
    """
    from clipsieve.pipelines.select import job

    say(job.run(scores, out, options, beam_args(context), opt_out, filters, dedup, members or ()).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.ReshardOptions)
def reshard(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards")],
    subset: Annotated[str, typer.Option(help="subset file: DataComp's .npy, Parquet with uid, or .txt of uids")],
    out: Out,
    options: stages.ReshardOptions,
    opt_out: OptOutList = None,
) -> None:
    """Write one subset as shards of its own, its members copied byte for byte.

    Example: `clipsieve reshard --shards run/shards --subset run/subsets/top40.npy --out run/resharded/top40`
    """
    from clipsieve.pipelines.reshard import job

    say(job.run(shards, subset, out, options, beam_args(context), opt_out).line(out))
