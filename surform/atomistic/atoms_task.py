"""Training of potentials: energies, forces and stresses of structures of atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surform.atomistic.energy_forces import AtomsPrediction, EnergyForces
from surform.atomistic.energy_scores import (
    ENERGY,
    FORCES,
    STRESS,
    figures,
    force_errors_of_elements,
)
from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.fine_tuning import begin_with
from surform.atomistic.potential import Potential
from surform.atomistic.without_effect import freeze_without_effect
from surform.data.atoms_batch import AtomsBatch
from surform.layers.checks import one_of
from surform.reports.page import Section
from surform.training.parameter_groups import decay_groups
from surform.training.schedules import Schedule, WholeCosine
from surform.training.task import Task

__all__ = ["AtomsTask"]

_NORMALIZED = ("energy_mean", "energy_std", "forces_std", "stress_isotropic_mean")
_NORMALIZED += ("stress_isotropic_std", "stress_anisotropic_std")


class AtomsTask(Task):
    """Train a potential on energies and, where it gives some, on forces and stresses.

    Losses are of normalised targets: energies less the references of the elements. Biases and the
    weights of norms are not decayed. Weights that nothing depends on are not trained.

    Args:
        net: a registered potential, such as equiformer_v2.
        loss: module `loss(prediction, batch) -> scalar`, such as energy_forces.
        optimizer: makes the optimizer from the trained parameters.
        schedule: the learning rate over the run.
        ema_decay: decay of the moving average of the weights, (1 + n) / (10 + n) at most after
            step n; 0 keeps none.
        compile: run the network through `torch.compile`.
        metrics: energy_mae, energy_mae_per_atom, force_mae, force_rmse, force_cosine, efwt,
            stress_mae; None: all that the network gives, but the last.
        monitor: the metric by which the best checkpoint is chosen; None: force_mae, or energy_mae
            without forces.
        normalize: energy_mean, energy_std [eV], forces_std [eV/Å], stress_isotropic_mean,
            stress_isotropic_std, stress_anisotropic_std [eV/Å^3] instead of what the training data
            give; those that are not named are theirs.
        tolerant: neighbours as near as the first one beyond the network's `max_neighbors` are kept.
        weights: a saved model, hf://owner/repo or a run folder whose weights training starts from,
            as far as they fit: references and statistics are those of the new data.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    shown: ClassVar[int | None] = 100
    own_metrics: ClassVar[tuple[str, ...]] = (*ENERGY, *FORCES, *STRESS)
    ema_warm: ClassVar[bool] = True
    surrogate: Potential

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module = EnergyForces(),  # noqa: B008  stateless; shows up in configurations
        optimizer: Callable[[Iterable], Optimizer] = lambda params: AdamW(
            params, lr=2e-4, weight_decay=1e-3
        ),
        schedule: Schedule = WholeCosine(),  # noqa: B008
        ema_decay: float = 0.999,
        compile: bool = False,
        metrics: Sequence[str] | None = None,
        monitor: str | None = None,
        normalize: dict[str, float] | None = None,
        tolerant: bool = False,
        weights: str | None = None,
    ) -> None:
        kind = getattr(net, "forces", "direct")
        given = ENERGY if kind == "none" else (*ENERGY, *FORCES)
        if metrics is None:
            metrics = given
        lacking = [n for n in metrics if n in FORCES and kind == "none"]
        stressed = kind == "conservative" or getattr(net, "stress_head", None) is not None
        lacking += [n for n in metrics if n in STRESS and not stressed]
        if lacking:
            raise ValueError(
                f"{lacking[0]} is not measured: the network has forces={kind!r}, "
                f"so that there are {', '.join(given)}"
            )
        if monitor is None:
            monitor = "energy_mae" if kind == "none" else "force_mae"
        super().__init__(
            Potential(net, tolerant),
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            ema_decay=ema_decay,
            compile=compile,
            metrics=metrics,
            monitor=monitor,
        )
        self.weights, self.normalize = weights, dict(normalize or {})
        for name, value in self.normalize.items():
            one_of("a name in normalize", name, _NORMALIZED)
            if name.endswith("std") and not value > 0:
                raise ValueError(f"normalize.{name} is {value}, but must be positive")

    # -- setup -----------------------------------------------------------------------------

    def trained(self) -> list[Any]:
        return decay_groups(self.surrogate.net)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            freeze_without_effect(self.surrogate.net)
        super().setup(stage)
        if stage != "fit":
            return
        self._renormalize()
        self._require_labels()
        data: Any = getattr(self.trainer, "datamodule", None)
        self.remarks += list(data.remarks()) if hasattr(data, "remarks") else []
        if self.weights is not None and not self.trainer.ckpt_path:
            report = str(begin_with(self.surrogate, self.weights))
            self.remarks.append(f"Weights of {self.weights}: {'; '.join(report.splitlines())}.")

    def _renormalize(self) -> None:
        """Statistics that are given, instead of those of the data."""
        energy, forces = self.surrogate.energy, self.surrogate.forces
        given = {n: torch.tensor(value) for n, value in self.normalize.items()}
        energy.fit(given.get("energy_mean", energy.mean), given.get("energy_std", energy.std))
        forces.fit(forces.mean, given.get("forces_std", forces.std))
        about = self.surrogate.description
        self.surrogate.fit_stress((about.statistics if about else {}) | self.normalize)

    def _require_labels(self) -> None:
        """ValueError where the data have nothing to learn, or to choose the best weights by."""
        about = self.surrogate.description
        if about is None:
            return
        given = ", ".join(about.labels) or "none"
        weights = getattr(self.loss, "weights", dict.fromkeys(about.labels, 1.0))
        if not any(weights.get(label) for label in about.labels):
            wanted = " and ".join(name for name, weight in weights.items() if weight)
            raise ValueError(
                f"the loss is of {wanted}, but the data give {given}: nothing to learn"
            )
        for label, names in (("energy", ENERGY), ("forces", FORCES), ("stress", STRESS)):
            if self.monitor in names and label not in about.labels:
                raise ValueError(
                    f"the data give no {label}, but {self.monitor} is to choose the best weights: "
                    "set model.monitor and model.metrics to what they give, such as energy_mae, "
                    "or model.net.forces to none"
                )

    # -- batches ---------------------------------------------------------------------------

    def predict_batch(self, batch: AtomsBatch) -> AtomsPrediction:
        """Energies, forces and stresses beside their targets, all normalised."""
        model = self.surrogate
        dtype = model.energy.mean.dtype
        found: Energies = model.net(
            batch.positions.to(dtype),
            batch.numbers,
            batch.edge_index,
            batch.shifts.to(dtype),
            batch=batch.batch,
            structures=len(batch),
        )
        references = model.references(batch.numbers, batch.batch, len(batch))
        target = model.energy.normalize(batch.energy - references).to(found.energy.dtype)
        prediction = AtomsPrediction(found.energy, target)
        if found.forces is None:
            return prediction
        forces = found.forces
        if found.virial is not None:
            forces = forces * (model.energy.std / model.forces.std)
        force_target = model.forces.normalize(batch.forces.to(dtype))
        prediction = replace(prediction, forces=forces, force_target=force_target)
        stress = batch.stress.to(dtype)
        if found.stress is not None:
            target = model.normalized_stress(stress)
            return replace(prediction, stress=found.stress, stress_target=target)
        if found.virial is None:
            return prediction
        volume = torch.linalg.det(batch.cell.to(dtype)).abs()[:, None, None]
        own = found.virial * (model.energy.std / volume.where(volume > 0, 1.0))
        return replace(prediction, stress=own, stress_target=stress)

    def predict_step(self, batch: AtomsBatch, batch_idx: int) -> Tensor:
        """(B,): energies in physical units."""
        return self.surrogate.of_batch(batch).energy

    def physical(self, prediction: AtomsPrediction) -> AtomsPrediction:
        """In units of the data; energies still without the references of the elements."""
        energy, forces = self.surrogate.energy, self.surrogate.forces
        output, target = (energy.denormalize(x) for x in (prediction.output, prediction.target))
        changed: dict[str, Any] = {"output": output, "target": target}
        if prediction.forces is not None and prediction.force_target is not None:
            changed["forces"] = forces.denormalize(prediction.forces)
            changed["force_target"] = forces.denormalize(prediction.force_target)
        if prediction.stress is not None and self.surrogate.stress_isotropic is not None:
            for name in ("stress", "stress_target"):
                changed[name] = self.surrogate.physical_stress(getattr(prediction, name))
        return replace(prediction, **changed)

    # -- whole splits ----------------------------------------------------------------------

    def _evaluate(self, batch: AtomsBatch) -> None:
        prediction = self.predict_batch(batch)
        self._evaluation.add(self.measure(prediction, batch))
        self._profiles.add(self.profile_batch(prediction, batch))

    def measure(self, prediction: AtomsPrediction, batch: AtomsBatch) -> dict[str, Tensor]:
        """Entries of structures or atoms, as many as count; and those of the loss's parts."""
        found = figures(self.physical(prediction), batch)
        return {name: found[name] for name in self.metrics} | self._losses(prediction, batch)

    def profile_batch(self, prediction: AtomsPrediction, batch: AtomsBatch) -> dict[str, Tensor]:
        """What the error of each element's forces is computed from."""
        if prediction.forces is None:
            return {}
        elements = len(self.surrogate.references.energies)
        return force_errors_of_elements(self.physical(prediction), batch, elements)

    def split_figures(self, stage: str) -> dict[str, Tensor]:
        """The loss of the whole split, however it is cut into batches."""
        if not isinstance(self.loss, EnergyForces):
            return {}
        found = self._evaluation.results(self._sum_over_processes)
        weights = self.loss.weights
        parts = [w * found[f"{n}_loss"] for n, w in weights.items() if f"{n}_loss" in found]
        return {"loss": torch.stack(parts).nansum()}

    def figure_names(self) -> tuple[str, ...]:
        parts = self.loss.weights if isinstance(self.loss, EnergyForces) else ()
        return (*self.metrics, *(f"{name}_loss" for name in parts), "loss")

    def _losses(self, prediction: AtomsPrediction, batch: AtomsBatch) -> dict[str, Tensor]:
        """The parts of the loss, of which `split_figures` makes the whole; or the loss."""
        if not isinstance(self.loss, EnergyForces):
            return {"loss": self.loss(prediction, batch).expand(len(batch))}
        terms = self.loss.terms(prediction, batch)
        return {f"{name}_loss": values[known] for name, (values, known) in terms.items()}

    # -- report ----------------------------------------------------------------------------

    def report_sections(
        self, batch: AtomsBatch, prediction: AtomsPrediction, labels: dict[str, Any]
    ) -> list[Section]:
        from surform.atomistic.atoms_figures import report_sections

        profiles = self.profiles.get("validation", {})
        return report_sections(self.physical(prediction), batch, profiles)
