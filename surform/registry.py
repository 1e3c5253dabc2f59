"""Names to objects, lazily: tables of strings, so that listing imports nothing heavy.

Third parties add entries through entry points: `surform.models` (name -> "module:Class") and
`surform.recipes` (name -> a package whose folder holds YAML recipes).
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import inspect
from functools import cache
from importlib.metadata import entry_points
from typing import Any

__all__ = ["BUILT_IN", "create_model", "find", "import_object", "list_models", "lookup", "names"]

BUILT_IN: dict[str, dict[str, str]] = {
    # plain nn.Modules, by the name that recipes, saved models and `create_model` use
    "models": {
        "galerkin1d": "surform.operators.galerkin:GalerkinTransformer1d",
        "galerkin2d": "surform.operators.galerkin:GalerkinTransformer2d",
        "factformer2d": "surform.operators.factformer:FactFormer2d",
        "factformer2d_steady": "surform.operators.factformer:FactFormerSteady2d",
        "factformer3d": "surform.operators.factformer:FactFormer3d",
        "ifactformer": "surform.operators.ifactformer:IFactFormer",
        "gnot": "surform.operators.gnot:GNOT",
        "cgptno": "surform.operators.gnot:CGPTNO",
        "itransformer": "surform.forecasting.itransformer:ITransformer",
        "informer": "surform.forecasting.informer:Informer",
        "informer_stack": "surform.forecasting.informer:InformerStack",
        "card": "surform.forecasting.card:Card",
        "samformer": "surform.forecasting.samformer:SAMformer",
        "pathformer": "surform.forecasting.pathformer:Pathformer",
        "dlinear": "surform.forecasting.dlinear:DLinear",
        "quantiles": "surform.forecasting.quantiles:Quantiles",
        "vitpose": "surform.vision.vitpose:ViTPose",
        "vitpose_plus": "surform.vision.vitpose_plus:ViTPosePlus",
        "cct": "surform.vision.cct:CCT",
        "cvt": "surform.vision.cct:CVT",
        "vit_lite": "surform.vision.cct:ViTLite",
        "text_cct": "surform.vision.text_cct:TextCCT",
        "text_cvt": "surform.vision.text_cct:TextCVT",
        "text_vit_lite": "surform.vision.text_cct:TextViTLite",
        "equiformer_v2": "surform.atomistic.equiformer_v2:EquiformerV2",
        "dpt": "surform.decisions.dpt:DPT",
        "in_context_bandit": "surform.decisions.in_context_bandit:InContextBandit",
        "dit_policy": "surform.robotics.dit_policy:DiTPolicy",
        "dit_noise_net": "surform.robotics.dit_noise_net:DiTNoiseNet",
        "hpt": "surform.robotics.hpt:HPT",
        "hpt_embodiments": "surform.robotics.hpt_embodiments:HPTEmbodiments",
        "resnet_tokens": "surform.robotics.resnet_tokens:ResNetTokens",
        "rt1": "surform.robotics.rt1:RT1",
        "bc_mlp": "surform.robotics.bc_mlp:BCMLP",
        "unet_policy": "surform.robotics.unet_policy:UNetPolicy",
        "hiformer": "surform.recommenders.hiformer:Hiformer",
        "folded_hiformer": "surform.recommenders.folded_hiformer:FoldedHiformer",
        "autoint": "surform.recommenders.autoint:AutoInt",
        "dcn_v2": "surform.recommenders.dcn_v2:DCNv2",
        "dlrm": "surform.recommenders.dlrm:DLRM",
        "logistic_regression": "surform.recommenders.logistic_regression:LogisticRegression",
        "popularity": "surform.recommenders.popularity:Popularity",
        "ast": "surform.audio.ast:AST",
        "passt": "surform.audio.passt:PaSST",
        "adapted": "surform.layers.adapted:Adapted",
        "pyformer": "surform.hyperspectral.pyformer:PyFormer",
        "spectral_cnn": "surform.hyperspectral.cnn3d:SpectralCNN",
        "jetformer": "surform.particles.jetformer:JetFormer",
        "fixed_jetformer": "surform.particles.fixed_jetformer:FixedJetFormer",
        "fastformer": "surform.sequences.fastformer:Fastformer",
        "sequence_encoder": "surform.sequences.encoder:SequenceEncoder",
    },
    # a network with its normalisers and the description of its data: what is saved and rolled out
    "surrogates": {
        "fields": "surform.operators.surrogate:FieldSurrogate",
        "points": "surform.operators.point_surrogate:PointSurrogate",
        "series": "surform.forecasting.forecaster:Forecaster",
        "pose": "surform.vision.pose_estimator:PoseEstimator",
        "images": "surform.vision.classifier:ImageClassifier",
        "atoms": "surform.atomistic.potential:Potential",
        "policy": "surform.robotics.policy:Policy",
        "embodied_policy": "surform.robotics.embodied_policy:EmbodiedPolicy",
        "decisions": "surform.decisions.agent:Agent",
        "audio": "surform.audio.classifier:AudioClassifier",
        "ranker": "surform.recommenders.ranker:Ranker",
        "scenes": "surform.hyperspectral.classifier:SceneClassifier",
        "jets": "surform.particles.jet_tagger:JetTagger",
        "sequences": "surform.sequences.classifier:SequenceClassifier",
        "conformal": "surform.uncertainty.conformal:restored",
        "ensemble": "surform.uncertainty.deep_ensemble:restored",
    },
    # LightningModules: how a domain's batch becomes a prediction
    "tasks": {
        "fields": "surform.operators.task:FieldTask",
        "points": "surform.operators.point_task:PointTask",
        "series": "surform.forecasting.task:ForecastTask",
        "images": "surform.vision.task:ClassificationTask",
        "pose": "surform.vision.pose_task:PoseTask",
        "audio": "surform.audio.task:AudioTask",
        "atoms": "surform.atomistic.atoms_task:AtomsTask",
        "policy": "surform.robotics.policy_task:PolicyTask",
        "embodied_policy": "surform.robotics.embodied_task:EmbodiedTask",
        "decisions": "surform.decisions.task:InContextTask",
        "ranking": "surform.recommenders.ranking_task:RankingTask",
        "scenes": "surform.hyperspectral.task:SceneTask",
        "jets": "surform.particles.task:JetTask",
        "sequences": "surform.sequences.task:SequenceTask",
    },
    # LightningDataModules
    "data": {
        "fields": "surform.data.fields_module:FieldsData",
        "points": "surform.data.points_module:PointsData",
        "series": "surform.data.series_module:SeriesData",
        "images": "surform.data.images_module:ImagesData",
        "pose": "surform.data.pose_module:PoseData",
        "clips": "surform.data.clips_module:ClipsData",
        "atoms": "surform.data.atoms_module:AtomsData",
        "demonstrations": "surform.data.demonstrations_module:DemonstrationsData",
        "embodiments": "surform.data.embodiments_module:EmbodimentsData",
        "decisions": "surform.data.decisions_module:DecisionsData",
        "jets": "surform.data.jets_module:JetsData",
        "sequences": "surform.data.sequences_module:SequencesData",
        "interactions": "surform.data.interactions_module:InteractionsData",
        "scenes": "surform.data.scenes_module:ScenesData",
    },
    # official code bases whose checkpoints and golden fixtures we read
    "official": {
        "galerkin": "surform.hub.official.galerkin:SYSTEM",
        "factformer": "surform.hub.official.factformer:SYSTEM",
        "ifactformer": "surform.hub.official.ifactformer:SYSTEM",
        "gnot": "surform.hub.official.gnot:SYSTEM",
        "itransformer": "surform.hub.official.itransformer:SYSTEM",
        "informer": "surform.hub.official.informer:SYSTEM",
        "card": "surform.hub.official.card:SYSTEM",
        "samformer": "surform.hub.official.samformer:SYSTEM",
        "pathformer": "surform.hub.official.pathformer:SYSTEM",
        "vitpose": "surform.hub.official.vitpose:SYSTEM",
        "cct": "surform.hub.official.cct:SYSTEM",
        "equiformer_v2": "surform.hub.official.equiformer_v2:SYSTEM",
        "dit_policy": "surform.hub.official.dit_policy:SYSTEM",
        "hpt": "surform.hub.official.hpt:SYSTEM",
        "rt1": "surform.hub.official.rt1:SYSTEM",
        "dpt": "surform.hub.official.dpt:SYSTEM",
        "hiformer": "surform.hub.official.hiformer:SYSTEM",
        "ast": "surform.hub.official.ast:SYSTEM",
        "passt": "surform.hub.official.passt:SYSTEM",
        "soft_moa": "surform.hub.official.soft_moa:SYSTEM",
        "jetformer": "surform.particles.official:SYSTEM",
        "forecasting_data": "surform.hub.official.forecasting_data:SYSTEM",
        "pyformer": "surform.hub.official.pyformer:SYSTEM",
        "attention_kinds": "surform.hub.official.attention_kinds:SYSTEM",
        "lra": "surform.hub.official.lra:SYSTEM",
    },
    # kinds of model that transformers writes (its `model_type`) and we read and write
    "hugging_face": {
        "vitpose": "surform.hub.official.vitpose_huggingface:LAYOUT",
        "audio-spectrogram-transformer": "surform.hub.official.ast_huggingface:LAYOUT",
    },
    "losses": {
        "relative_l2": "surform.training.losses:RelativeL2",
        "relative_l2_h1": "surform.training.losses:RelativeL2H1",
        "mse": "surform.training.losses:MeanSquaredError",
        "mae": "surform.training.losses:MeanAbsoluteError",
        "signal_decay": "surform.training.losses:SignalDecay",
        "quantile": "surform.training.quantile_loss:QuantileLoss",
        "heatmap_mse": "surform.vision.heatmap_losses:HeatmapMSE",
        "heatmap_ohkm": "surform.vision.heatmap_losses:HardKeypointMSE",
        "heatmap_combined": "surform.vision.heatmap_losses:CombinedHeatmapMSE",
        "cross_entropy": "surform.training.cross_entropy:CrossEntropy",
        "binary_cross_entropy": "surform.training.binary_cross_entropy:BinaryCrossEntropy",
        "energy_forces": "surform.atomistic.energy_forces:EnergyForces",
    },
}

_SINGULAR = {
    "models": "model",
    "surrogates": "surrogate",
    "tasks": "task",
    "official": "official system",
    "hugging_face": "kind of transformers model",
    "losses": "loss",
}

# The module whose absence tells which extra to install.
_EXTRAS: dict[str, str] = {
    "ase": "atomistic",
    "torch_sim": "torchsim",
    "lmdb": "atomistic",
    "tblite": "xtb",
    "timm": "vision",
    "sklearn": "vision",
    "pandas": "tables",
    "pyarrow": "tables",
    "polars": "tables",
    "uproot": "particles",
}


@cache
def _entries(kind: str) -> dict[str, str]:
    found = {point.name: point.value for point in entry_points(group=f"surform.{kind}")}
    return found | BUILT_IN.get(kind, {})


def names(kind: str) -> dict[str, str]:
    """All entries of one kind, name -> "module:attribute"; built-in ones win over third parties."""
    return dict(_entries(kind))


def lookup(kind: str, name: str) -> str:
    """Where `name` lives ("module:attribute"); ValueError names the closest valid names."""
    entries = _entries(kind)
    if name in entries:
        return entries[name]
    what = _SINGULAR.get(kind, kind)
    if not entries:
        raise ValueError(f"unknown {what} {name!r}: none is registered")
    near = difflib.get_close_matches(name, entries, n=3) or sorted(entries)
    raise ValueError(f"unknown {what} {name!r}: did you mean {', '.join(near)}?")


def import_object(path: str) -> Any:
    """Import "module:attribute"; a missing extra is named instead of a traceback."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _EXTRAS:
            raise ImportError(
                f"{path} needs {missing}: pip install 'surform[{_EXTRAS[missing]}]'"
            ) from error
        raise


def find(kind: str, name: str) -> Any:
    """The object that `name` stands for, imported now."""
    return import_object(lookup(kind, name))


def list_models(pattern: str = "*") -> list[str]:
    """Registered model names that match a shell pattern, sorted; imports no model."""
    return sorted(fnmatch.filter(_entries("models"), pattern))


def create_model(name: str, **arguments: Any) -> Any:
    """Build a registered model, fresh weights; `arguments` are its published hyper-parameters.

    The model keeps them, defaults included, in `.arguments`, so that it can be saved.

    Raises:
        ValueError: no model is called `name`; names the closest.
        TypeError: it has no such argument; names the closest.
    """
    cls = find("models", name)
    _check_arguments(name, cls, arguments)
    model = cls(**arguments)
    if "arguments" not in vars(model):  # classes that do not use record_arguments
        bound = inspect.signature(cls).bind(**arguments)
        bound.apply_defaults()
        vars(model)["arguments"] = dict(bound.arguments)
    return model


def _check_arguments(name: str, cls: Any, arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for given in arguments:
        if given not in parameters:
            near = difflib.get_close_matches(given, parameters, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(parameters)}"
            raise TypeError(f"{name} has no argument {given!r}: {hint}")
