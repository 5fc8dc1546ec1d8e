"""The folders that the domains write, told by their files; nothing is imported to tell them."""

import dataclasses

from separable.records import LIBRARY_KINDS, FolderKind

# What of the library's own is answered over HTTP.
_SERVED = tuple(
    dataclasses.replace(kind, uses=("separable serve RUN",))
    for kind in LIBRARY_KINDS
    if kind.name.startswith(("surrogate", "solution", "posterior", "separable layer"))
)
KINDS = (
    FolderKind(
        "policy of a vehicle",
        ("config.json", "policy.safetensors"),
        "config.json",
        ("algorithm", "policy", "options"),
        tensors="policy.safetensors",
        uses=(
            "separable navigation evaluate RUN",
            "separable navigation render RUN",
            "separable navigation inspect RUN",
            "separable navigation export RUN",
        ),
    ),
    FolderKind(
        "forecaster of a flow",
        ("forecaster.json", "forecaster.safetensors"),
        "forecaster.json",
        ("kind", "config"),
        tensors="forecaster.safetensors",
        uses=(
            "separable turbulence forecast RUN DATA",
            "separable turbulence evaluate RUN DATA",
            "separable turbulence animate RUN DATA",
            "separable serve RUN",
        ),
    ),
    FolderKind(
        "designer of cells",
        ("janus.json", "janus.safetensors", "library.safetensors", "materials.json"),
        "janus.json",
        tensors="janus.safetensors",
        uses=(
            "separable microstructure design --run RUN --target NAME=VALUE",
            "separable microstructure sketch DRAWING --run RUN",
        ),
    ),
    FolderKind("model of cells", ("janus.json", "janus.safetensors"), "janus.json", tensors="janus.safetensors"),
    FolderKind(
        "cleaner of sketches", ("cleaner.json", "cleaner.safetensors"), "cleaner.json", tensors="cleaner.safetensors"
    ),
    FolderKind("decoder of stress", ("stress.json", "stress.safetensors"), "stress.json", tensors="stress.safetensors"),
    FolderKind(
        "model of facts",
        ("config.json", "model.safetensors"),
        "config.json",
        says=(("kind", "JointFactModel"),),
        tensors="model.safetensors",
    ),
    FolderKind(
        "run of a model of facts",
        ("config.json", "environment.json", "facts.jsonl"),
        "config.json",
        uses=("separable language reversal ask QUESTION --run RUN",),
    ),
    FolderKind(
        "language model with its tokeniser",
        ("config.json", "model.safetensors", "tokenizer.json"),
        "config.json",
        says=(("kind", "LanguageModel"),),
        tensors="model.safetensors",
        uses=("separable language sample RUN", "separable language evaluate RUN TOKENS"),
    ),
    FolderKind(
        "tokens of texts",
        ("index.json", "tokenizer.json"),
        "index.json",
        ("tokeniser", "vocabulary", "parts"),
        uses=("separable language train RUN",),
    ),
    FolderKind(
        "data set of a flow",
        ("dataset.json",),
        "dataset.json",
        ("layout", "config"),
        uses=("separable turbulence train RUN",),
    ),
    *_SERVED,
)
