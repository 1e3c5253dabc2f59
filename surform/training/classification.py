"""Training of classifiers, whatever the domain: which of several classes a sample is of."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from surform.hub.classifier import Classifier
from surform.training.evaluation import Evaluation
from surform.training.parameter_groups import decay_groups
from surform.training.prediction import Prediction
from surform.training.task import Task

__all__ = ["ClassTask"]

_CONFUSION = 100  # classes; a matrix of more is neither kept nor drawn


class ClassTask(Task):
    """A `Task` whose output are logits and whose targets are probabilities of the classes.

    Biases, norms and other vectors are not decayed.
    """

    predicts: ClassVar[Literal["windows", "files"]] = "files"
    surrogate: Classifier

    def trained(self) -> list[Any]:
        return decay_groups(self.surrogate.net)

    def predict_batch(self, batch: Any) -> Prediction:
        """Logits beside the probabilities of the classes."""
        logits = self.surrogate(self.surrogate.inputs(batch))
        return Prediction(logits, self.surrogate.targets(batch, logits))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The probabilities of the classes."""
        return self.surrogate.outputs(batch)

    def new_evaluation(self) -> Evaluation:
        """Means over all samples; the protocols differ in which samples choose the weights."""
        return Evaluation()

    def profile_batch(self, prediction: Prediction, batch: Any) -> dict[str, Tensor]:
        """Shares of all samples: by true and predicted class, or by true class where many."""
        count = prediction.output.shape[-1]
        true = prediction.target.argmax(-1)
        found = prediction.output.argmax(-1)
        truth = nn.functional.one_hot(true, count).float()
        if count > _CONFUSION:
            right = (true == found).float().unsqueeze(-1)
            return {"class_share": truth, "class_found": truth * right}
        answer = nn.functional.one_hot(found, count).float()
        return {"confusion": truth.unsqueeze(2) * answer.unsqueeze(1)}
