"""A model beside other people's code: speed or errors that were kept, or why there is none."""

from __future__ import annotations

from benchmarks.matrix.kept import Source, kept_rows, span

__all__ = ["against_peer"]

_SPEED = {
    "cct": Source("cct", "training_gain_over_peer", note="vit-pytorch, training"),
    "vitpose": Source("vitpose", "gain_over_transformers", note="transformers, forward"),
    "vitpose_plus": Source(
        "transformers", "forward_gain", "^vitpose_plus", "transformers, forward"
    ),
    "ast": Source("transformers", "training_gain", "^ast", "transformers, training"),
    "informer": Source(
        "transformers", "training_gain", "^informer",
        "transformers, whose attention does less, training",
    ),
}  # fmt: skip
_ACCURACY = {  # after equal time of training: files with a row per side
    "galerkin2d": {"Darcy": "accuracy-darcy"},
    "factformer2d": {"Kolmogorov flow": "accuracy-kolmogorov"},
    "gnot": {"NS2d-c": "accuracy-ns2d-c", "Heat": "accuracy-heat"},
}
_RANKERS = {  # rows of movielens.json: ours, the peer's
    "hiformer": ("hiformer", "deepctr-torch autoint"),
    "autoint": ("autoint", "deepctr-torch autoint"),
    "dcn_v2": ("dcnv2", "deepctr-torch dcnv2"),
}
_SCENES = {"pyformer": "PyFormer", "spectral_cnn": "SpectralCNN"}
_FORECASTS = "none: not in neuralforecast"
_CODE = "none: no package has it, only the paper's own code"
_POLICIES = "not run: lerobot, whose diffusion policies are nearest, needs torch before 2.12"
_FAMILY = "none: vit-pytorch has CCT alone of this family"
_HPT = "none maintained: the authors' hpt-robot had one release, in 2024"
_NONE = {
    "galerkin1d": "none maintained: the authors' galerkin-transformer is of 2022",
    "factformer2d_steady": _CODE,
    "factformer3d": _CODE,
    "ifactformer": _CODE,
    "cgptno": "none: no package has it, and the authors' code needs dgl, last released in 2024",
    "informer_stack": "none: transformers and neuralforecast have a single encoder",
    "card": _FORECASTS,
    "samformer": _FORECASTS,
    "pathformer": _FORECASTS,
    "cvt": _FAMILY,
    "vit_lite": _FAMILY,
    "dit_policy": _POLICIES,
    "dit_noise_net": _POLICIES,
    "hpt": _HPT,
    "hpt_embodiments": _HPT,
    "rt1": "none: official code in TensorFlow 2 with tf-agents; a PyTorch port changes FiLM",
    "bc_mlp": "none: it is itself the baseline of the policies",
    "dlrm": "not run: not in deepctr-torch, and FuxiCTR keeps it outside its package",
    "passt": "none maintained: the authors' hear21passt is of 2024",
    "adapted": "none: no package has Soft-MoA",
    "jetformer": _CODE,
    "fixed_jetformer": "none: others put trained networks on circuits",
    "fastformer": "none maintained: ports on PyPI are of 2021 and 2022",
    "sequence_encoder": "none: Long Range Arena is in old JAX and Flax",
    "in_context_bandit": _CODE,
}


def against_peer(model: str) -> str:
    """Speed where it was measured, errors after equal time of training where these were."""
    found = [span(_SPEED[model])] if model in _SPEED else []
    for task, results in _ACCURACY.get(model, {}).items():
        errors = [f"{r['model']} {r['test/relative_l2/clean']:.3g}" for r in kept_rows(results)]
        found.append(f"relative L2, {task}: {', '.join(errors)}")
    if model in ("itransformer", "informer"):
        found += _epochs(model)
    if model in _RANKERS:
        found.append(_aucs(*_RANKERS[model]))
    if model in _SCENES:
        right = {row["network"]: row["oa"] for row in kept_rows("scenes")}
        found.append(f"right pixels: ours {right[_SCENES[model]]:.3f}, an SVM {right['SVM']:.3f}")
    if model == "equiformer_v2":
        found.append(_potentials())
    if model == "dpt":
        regret = {row["player"]: row["regret"] for row in kept_rows("dpt-regret")}
        sides = {"ours": "agent", "Thompson sampling": "thompson", "LinUCB": "linucb"}
        found.append("regret: " + ", ".join(f"{k} {regret[v]:.3g}" for k, v in sides.items()))
    return "; ".join(found) or _NONE.get(model, "no peer measured")


def _epochs(model: str) -> list[str]:
    rows = {row["side"]: row for row in kept_rows("forecasting") if row["model"] == model}
    ours = rows.pop("ours", None)
    if ours is None:
        return []
    return [
        f"{row['train_seconds'] / ours['train_seconds']:.2g}x {side}, an epoch"
        for side, row in rows.items()
    ]


def _aucs(ours: str, theirs: str) -> str:
    rows = {row["ranker"]: row["auc"] for row in kept_rows("movielens")}
    return f"MovieLens AUC: ours {rows[ours]:.3f}, {theirs} {rows[theirs]:.3f}"


def _potentials() -> str:
    """Both with forces as a gradient."""
    ms = {
        row["potential"].partition(",")[0]: row["ms_per_atom"]
        for row in kept_rows("potentials")
        if row["potential"].endswith("as a gradient")
    }
    return f"{ms['SevenNet-0'] / ms['EquiformerV2']:.2g}x SevenNet-0, energies and forces"
