"""Spectra as a few whitened principal components, or each band standardised: part of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from surform.data.normalizers import Normalizer

__all__ = ["Components", "Moments"]

_RANK = 1e-10  # of the largest variance: less is rounding


class Components(Normalizer):
    """A `Normalizer` of the bands, then a linear map: patches (b, bands, h, w) -> (b, k, h, w).

    Where a number of a spectrum is missing, all its components are 0, those of the mean spectrum.
    Principal components: Pearson 1901; whitened, so that each has variance 1.
    """

    rotation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rotation", torch.zeros(0, 0))

    def fit_to(self, moments: Moments, count: int | None) -> Components:
        """From the moments of training spectra; returns itself.

        Args:
            count: of components; None: every band by itself, standardised.

        Raises:
            ValueError: more components than the spectra have, or a band that never changes.
        """
        mean, covariance = moments.mean, moments.covariance
        variances = np.diag(covariance)
        if not variances.max() > 0:
            raise ValueError(f"all spectra of {moments.name} are the same")
        if count is None:
            flat = variances <= _RANK * variances.max()
            if flat.any():
                raise ValueError(
                    f"band {int(np.argmax(flat))} of {moments.name} is the same in all training "
                    "pixels: put it into data.drop_bands"
                )
            scale, rotation = np.sqrt(variances), np.eye(len(mean))
        else:
            scale = np.full(len(mean), np.sqrt(variances.max()))
            rotation = _principal(covariance / variances.max(), count, moments.name)
        self.fit(torch.from_numpy(mean), torch.from_numpy(scale))
        self.rotation = torch.from_numpy(rotation).to(self.mean)
        return self

    def forward(self, patches: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:  # type: ignore[override]
        """Components of patches of spectra; 0 where a spectrum lacks a number or lies outside.

        Raises:
            ValueError: another number of bands.
        """
        if patches.ndim != 4 or patches.shape[1] != len(self.rotation):
            raise ValueError(
                f"patches have shape {tuple(patches.shape)}, but the components are those of "
                f"(batch, {len(self.rotation)} bands, rows, columns)"
            )
        spectra = patches.movedim(1, -1).to(self.mean.dtype)
        missing = spectra.isnan().any(-1, keepdim=True)
        known = self.normalize(torch.where(missing, self.mean, spectra))
        return (known @ self.rotation).movedim(-1, 1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(prefix + "rotation")
        if stored is not None and stored.shape != self.rotation.shape:
            self.rotation = self.rotation.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Moments:
    """Mean and covariance of spectra, added up in float64 part by part."""

    def __init__(self, name: str, bands: int) -> None:
        self.name, self.count = name, 0
        self._shift = np.zeros(bands)  # the first mean: keeps sums of squares small
        self._sum, self._products = np.zeros(bands), np.zeros((bands, bands))

    def add(self, spectra: np.ndarray) -> None:
        """(n, bands); spectra that lack a number do not count."""
        whole = spectra[~np.isnan(spectra).any(1)].astype(np.float64)
        if len(whole):
            if not self.count:
                self._shift = whole.mean(0)
            whole = whole - self._shift
            self._sum += whole.sum(0)
            self._products += whole.T @ whole
            self.count += len(whole)

    @property
    def mean(self) -> np.ndarray:
        """(bands,)"""
        self._require()
        return self._sum / self.count + self._shift

    @property
    def covariance(self) -> np.ndarray:
        """(bands, bands), of the spectra as a whole population."""
        self._require()
        mean = self._sum / self.count
        return self._products / self.count - np.outer(mean, mean)

    def _require(self) -> None:
        if self.count < 2:
            raise ValueError(f"{self.name} has {self.count} whole training spectra: give more")


def _principal(covariance: np.ndarray, count: int, name: str) -> np.ndarray:
    """(bands, count) whitening directions, the one of most variance first."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > _RANK * values[0]).sum())
    if count > rank:
        raise ValueError(
            f"components is {count}, but the spectra of {name} that PCA sees have {rank} "
            f"({len(values)} bands): take fewer"
        )
    chosen = vectors[:, :count]
    largest = np.abs(chosen).argmax(0)  # a sign that does not depend on the library
    chosen = chosen * np.sign(chosen[largest, np.arange(count)])
    return np.ascontiguousarray(chosen / np.sqrt(values[:count]))
