"""The tasks that are known by name: how many images and classes they must have, and where they are to be had.

Names, titles, counts and main metrics are those of DataComp's ``tasklist.yml``, but for ReaL (Beyer et al. 2020). A set
with an image too few has gone unnoticed in published work (an ObjectNet, in FLYP's), so the counts are asserted.
Tasks of other names are evaluated just as well; nothing is asserted of them.
"""

from __future__ import annotations

from dataclasses import dataclass

MEAN_RECALL_AT_1 = "mean_recall@1"
MEAN_RECALL = "mean_per_class_recall"
_DATACOMP = "huggingface.co/datasets/djghosh/wds_{}_test"
_BENCHMARK = "huggingface.co/datasets/clip-benchmark/wds_{}"
REAL = "imagenet_real"


@dataclass(frozen=True)
class Known:
    """A published evaluation set."""

    key: str
    """Its name at DataComp or, of retrieval, at CLIP_benchmark; folders have - for /."""
    title: str
    images: int
    classes: int = 0
    captions: int = 0
    main_metric: str = "acc1"
    datacomp: str | None = ""
    """Its name at DataComp where that is another; None: it is no task of DataComp's."""
    folder: str = ""
    """Name of the data set that it asks about, where that is another's."""
    source: str = ""

    @property
    def slug(self) -> str:
        return self.key.replace("/", "-")

    @property
    def datacomp_key(self) -> str | None:
        return self.key if self.datacomp == "" else self.datacomp

    @property
    def data_slug(self) -> str:
        return self.folder or self.slug

    @property
    def is_retrieval(self) -> bool:
        return not self.classes

    @property
    def needs(self) -> str:
        """What a user must have, in words."""
        asked = f"{self.captions:,} captions" if self.is_retrieval else f"{self.classes:,} classes"
        return f"{self.images:,} images, {asked}"

    @property
    def where(self) -> str:
        """Where outside users get it."""
        return self.source or _DATACOMP.format(self.data_slug)


_IMAGENET = "image-net.org (LOC_val, a folder a synset)"
KNOWN = (
    Known("imagenet1k", "ImageNet 1k", 50_000, 1000, source=f"{_IMAGENET} or {_DATACOMP.format('imagenet1k')}"),
    Known(
        REAL,
        "ImageNet ReaL",
        50_000,
        1000,
        datacomp=None,
        folder="imagenet1k",
        source=f"the images of imagenet1k, {_IMAGENET}; tar files with filenames.txt; the labels come with clipsieve",
    ),
    Known("imagenet-a", "ImageNet-A", 7_500, 200, source="github.com/hendrycks/natural-adv-examples"),
    Known("imagenet-r", "ImageNet-R", 30_000, 200, source="github.com/hendrycks/imagenet-r"),
    Known("imagenet_sketch", "ImageNet Sketch", 50_889, 1000, source="github.com/HaohanWang/ImageNet-Sketch"),
    Known(
        "imagenetv2",
        "ImageNet v2",
        10_000,
        1000,
        source="huggingface.co/datasets/vaishaal/ImageNetV2 (matched-frequency)",
    ),
    Known("imagenet-o", "ImageNet-O", 2_000, 200),
    Known("objectnet", "ObjectNet", 18_574, 113, source="objectnet.dev (the folders of images/)"),
    Known("vtab/caltech101", "Caltech-101", 6_085, 102, main_metric=MEAN_RECALL),
    Known("cifar10", "CIFAR-10", 10_000, 10),
    Known("vtab/cifar100", "CIFAR-100", 10_000, 100),
    Known("vtab/clevr_count_all", "CLEVR Counts", 15_000, 8),
    Known("vtab/clevr_closest_object_distance", "CLEVR Distance", 15_000, 6),
    Known("country211", "Country211", 21_100, 211),
    Known("vtab/dtd", "Describable Textures", 1_880, 47),
    Known("vtab/eurosat", "EuroSAT", 5_400, 10),
    Known("fgvc_aircraft", "FGVC Aircraft", 3_333, 100, main_metric=MEAN_RECALL),
    Known("food101", "Food-101", 25_250, 101),
    Known("gtsrb", "GTSRB", 12_630, 43),
    Known("vtab/kitti_closest_vehicle_distance", "KITTI Vehicle Distance", 711, 4),
    Known("mnist", "MNIST", 10_000, 10),
    Known("vtab/flowers", "Oxford Flowers-102", 6_149, 102, main_metric=MEAN_RECALL),
    Known("vtab/pets", "Oxford-IIIT Pet", 3_669, 37, main_metric=MEAN_RECALL),
    Known("voc2007", "Pascal VOC 2007", 14_976, 20),
    Known("vtab/pcam", "PatchCamelyon", 32_768, 2),
    Known("renderedsst2", "Rendered SST2", 1_821, 2),
    Known("vtab/resisc45", "RESISC45", 6_300, 45),
    Known("cars", "Stanford Cars", 8_041, 196),
    Known("stl10", "STL-10", 8_000, 10),
    Known("sun397", "SUN397", 108_754, 397),
    Known("vtab/svhn", "SVHN", 26_032, 10),
    Known(
        "flickr30k",
        "Flickr",
        1_000,
        captions=5_000,
        main_metric=MEAN_RECALL_AT_1,
        datacomp="retrieval/flickr_1k_test_image_text_retrieval",
        source=_BENCHMARK.format("flickr30k"),
    ),
    Known(
        "mscoco_captions",
        "MSCOCO",
        5_000,
        captions=25_010,
        main_metric=MEAN_RECALL_AT_1,
        datacomp="retrieval/mscoco_2014_5k_test_image_text_retrieval",
        source=_BENCHMARK.format("mscoco_captions"),
    ),
)
BY_SLUG = {known.slug: known for known in KNOWN}


def slug_of(name: str) -> str:
    """A task's name as folders have it: of ``vtab/pets``, ``wds_vtab-pets_test`` and so on, ``vtab-pets``."""
    return name.removeprefix("wds_").removesuffix("_test").removesuffix(".parquet").replace("/", "-")
