"""Agents: training through the shared loop, what is measured, saving, playing; faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import AdamW

import surform
from surform.data.decisions_bandits import gaussian_bandits
from surform.data.decisions_explorers import Seen
from surform.data.decisions_mdps import dark_rooms
from surform.data.decisions_module import DecisionsData
from surform.decisions.agent import Agent
from surform.decisions.decision_figures import curve_figure, report_sections
from surform.decisions.explorer import InContextExplorer
from surform.decisions.regret import cumulative_regret, regrets
from surform.decisions.task import InContextTask
from surform.registry import create_model
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from tests.training.test_resume import Kill, Killed, differences
from tests.training.toy import trainer

EASY = {"name": "gaussian_bandit", "actions": 2, "noise": 0.05}
ROOM = {"name": "dark_room", "size": 3, "steps": 5}


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def data(**given: Any) -> DecisionsData:
    options = {"rounds": 8, "environments": 32, "validation": 12, "test": 12, "batch_size": 16}
    return DecisionsData(**{"worlds": EASY} | options | given)


def task(name: str = "dpt", net: dict[str, Any] | None = None, **given: Any) -> InContextTask:
    torch.manual_seed(0)
    sizes = {"actions": 2, "horizon": 8, "dim": 16, "depth": 2} | (net or {})
    options = {"optimizer": lambda params: AdamW(params, lr=5e-3)} | given
    return InContextTask(create_model(name, **sizes), **options)


def fit(place: Path, module: InContextTask, source: DecisionsData, **options: Any) -> Any:
    run = trainer(place, **({"max_epochs": 1} | options))
    run.fit(module, source)
    return run


def test_an_agent_learns_to_act_in_bandits_it_has_not_seen(tmp_path: Path) -> None:
    module = task()
    source = data(environments=3200, batch_size=64, collector="uniform", validation=100)
    run = fit(tmp_path, module, source, max_epochs=2)
    found = {k.split("/")[1]: float(v) for k, v in run.callback_metrics.items() if "valid" in k}
    assert found["regret"] < 0.5 * found["uniform_regret"]
    assert found["accuracy"] > 0.85  # arms may be almost alike
    assert found["regret_over_thompson"] == pytest.approx(
        found["regret"] / found["thompson_regret"], rel=1e-5
    )
    assert {"linucb_regret", "empirical_mean_regret", "greedy_regret", "loss"} <= set(found)


def test_the_run_leaves_an_agent_and_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = trainer(tmp_path, max_epochs=1, callbacks=[RunFolder(folder), Checkpoints()],
                   logger=MetricsLogger(), enable_checkpointing=True)  # fmt: skip
    run.fit(task(), data())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Cumulative regret" in page
    assert "Thompson sampling" in page
    model = surform.load_model(folder / "model")
    assert isinstance(model, Agent)
    assert "Acts in gaussian bandits of 2 arms" in (folder / "model/README.md").read_text()
    player = model.player(greedy=True)
    player.start(batch=3)
    for _ in range(8):
        arm = player.choose()
        player.learn(arm, torch.rand(3))
    assert arm.shape == (3,)


def test_resuming_continues_bit_for_bit(tmp_path: Path) -> None:
    def run(place: str, *more: Any, resume: bool = False) -> Any:
        keeper = Checkpoints(tmp_path / place, every_n_steps=1)
        ready = trainer(tmp_path, max_epochs=2, callbacks=[keeper, ExactResume(), *more],
                        enable_checkpointing=True)  # fmt: skip
        path = tmp_path / place / "last.ckpt" if resume else None
        ready.fit(task(), data(), ckpt_path=path, weights_only=True)

    run("whole")
    with pytest.raises(Killed):
        run("cut", Kill(3))
    run("cut", resume=True)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert whole["global_step"] == 4
    assert differences(whole["state_dict"], cut["state_dict"]) == []


def test_targets_are_the_best_arm_or_what_the_collector_did() -> None:
    batch = data(collector="thompson").samples("train")[[0, 1, 2]]
    best = task().predict_batch(batch)
    assert best.output.shape == (3, 9, 2)
    assert torch.equal(best.target.argmax(-1), batch.optimal.unsqueeze(1).expand(-1, 9))
    module = task("in_context_bandit", {"features": 2}, imitate="collector")
    done = module.predict_batch(batch)
    assert done.output.shape == (3, 8, 2)
    assert torch.equal(done.target.argmax(-1), batch.actions)
    # and the last round's action is predicted from what came before it
    changed = batch.actions.clone()
    changed[:, -1] = 1 - changed[:, -1]
    batch.actions = changed
    torch.testing.assert_close(module.predict_batch(batch).output, done.output)


def test_targets_are_the_probabilities_of_the_arms_where_the_data_tell_them() -> None:
    """The same mean of the loss, with less variance."""
    worlds, count = {"name": "bernoulli_bandit", "actions": 2}, 2000
    module, losses = task(), []
    for labels in ("posterior", "optimal"):
        source = data(worlds=worlds, labels=labels, draws=16, test=count)
        batch = source.samples("test")[list(range(count))]
        found = module.predict_batch(batch)
        score = torch.log_softmax(found.output.detach() * 10, -1)
        losses.append(-(found.target * score).sum(-1).mean(1))
        assert (labels == "posterior") == (found.target is batch.chances)
    difference = losses[0] - losses[1]
    assert abs(difference.mean()) < 4 * difference.std() / count**0.5
    assert losses[0].std() < 0.8 * losses[1].std()


@pytest.mark.parametrize("name", ["dpt", "in_context_bandit"])
def test_a_player_says_what_one_pass_over_its_game_says(name: str) -> None:
    net = task(name, {"features": 2} if name != "dpt" else {}).surrogate.net.double().eval()
    bandits = gaussian_bandits(5, torch.Generator().manual_seed(0), actions=2, dtype=torch.float64)
    player = Agent(net).player()
    player.begin(bandits, 6, torch.Generator().manual_seed(1))
    luck = bandits.luck(6, torch.Generator().manual_seed(2))
    actions, rewards, chances = [], [], [player.chances()]
    for now in luck.unbind(1)[:-1]:
        actions.append(player.choose())
        rewards.append(bandits.reward(actions[-1], now))
        player.learn(actions[-1], rewards[-1])
        chances.append(player.chances())
    batch = data(dtype="float64").samples("test")[[0, 1, 2, 3, 4]]
    batch.world, batch.actions = bandits, torch.stack(actions, 1)
    batch.rewards = torch.stack(rewards, 1)
    batch.states = batch.next_states = batch.states[:, :5]
    expected = torch.softmax(Agent(net).logits(batch), -1)
    torch.testing.assert_close(torch.stack(chances, 1), expected)


def test_all_players_meet_the_same_luck() -> None:
    setting = data().setting
    bandits = setting.draw(20, torch.Generator().manual_seed(0), torch.float32)
    agent = task().surrogate.eval()
    first = regrets(agent, setting, bandits, 8, seed=1)
    again = regrets(agent, setting, bandits, 8, seed=1)
    other = regrets(agent, setting, bandits, 8, seed=2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["thompson"], other["thompson"])
    assert set(first) == {"agent", "greedy", *setting.players}
    assert all((curve.diff(dim=1) >= 0).all() for curve in first.values())


def test_a_temperature_below_one_draws_improbable_arms_less_often() -> None:
    agent = task().surrogate.eval()
    torch.nn.init.normal_(agent.net.head.bias, std=1.0)
    said, generator = [], torch.Generator().manual_seed(0)
    for temperature in (1.0, 0.5):
        player = agent.player(temperature=temperature)
        player.start(20_000, generator=generator)
        share = torch.bincount(player.choose(), minlength=2) / 20_000
        expected = torch.softmax(player.chances()[0].detach().log() / temperature, -1)
        torch.testing.assert_close(share, expected, rtol=0, atol=0.015)
        said.append(share.min())
    assert said[1] < said[0] - 0.03
    setting = data().setting
    bandits = setting.draw(20, torch.Generator().manual_seed(0), torch.float32)
    found = regrets(agent, setting, bandits, 8, seed=1, temperatures=[0.5])
    assert torch.equal(found["agent"], regrets(agent, setting, bandits, 8, seed=1)["agent"])
    assert found["agent at 0.5"].shape == (20, 8)


def test_regret_of_a_player_that_knows() -> None:
    class Knows:
        def begin(self, bandits: Any, rounds: int, generator: Any) -> None:
            self.best = bandits.best

        def choose(self) -> torch.Tensor:
            return self.best

        def learn(self, actions: torch.Tensor, rewards: torch.Tensor) -> None:
            pass

    bandits = gaussian_bandits(4, torch.Generator())
    luck = bandits.luck(3, torch.Generator())
    assert not cumulative_regret(Knows(), bandits, luck, torch.Generator()).any()


def test_worlds_with_states_are_acted_in(tmp_path: Path) -> None:
    sizes = {"actions": 5, "state_dim": 2, "horizon": 10}
    module = task("dpt", sizes, metrics=["return", "first_return"], monitor="return")
    source = data(worlds=ROOM, collector="random_walk", rounds=10, episodes=3)
    run = fit(tmp_path, module, source)
    found = {k.split("/")[1]: float(v) for k, v in run.callback_metrics.items() if "valid" in k}
    assert {"return", "first_return", "random_walk_return", "optimal_return"} <= set(found)
    assert 0 <= found["return"] <= found["optimal_return"]
    assert torch.tensor(module.profiles["validation"]["agent"]).shape == (3, 2)


def test_states_asked_about_before_are_answered_from_memory() -> None:
    """The context of an episode is fixed: what is remembered equals asking anew."""
    net = create_model("dpt", actions=5, state_dim=2, horizon=6, dim=8, depth=1).double().eval()
    rooms = dark_rooms(3, torch.Generator().manual_seed(0), size=3, steps=6)
    explorer = InContextExplorer(net, rounds=6)
    explorer.begin(rooms, torch.Generator().manual_seed(0))
    state = torch.tensor([0, 4, 8])
    done, once = torch.tensor([[1], [4], [2]]), state.unsqueeze(1)
    explorer.learn(Seen(once, done, once, torch.ones(3, 1), once * 0))
    explorer.choose(state, 0)
    first = explorer._logits.clone()
    asked = []
    net.register_forward_hook(lambda *_: asked.append(1))
    explorer.choose(state, 1)
    assert not asked
    explorer.choose(torch.tensor([0, 4, 7]), 2)
    assert len(asked) == 1
    assert torch.equal(explorer._logits[:2], first[:2])
    query = rooms.look(state, state * 0).double()
    action, one = torch.nn.functional.one_hot(done, 5).double(), torch.ones(3, 1).double()
    with torch.no_grad():
        expected = net(query, query.unsqueeze(1), action, query.unsqueeze(1), one)[:, -1]
    torch.testing.assert_close(first[torch.arange(3), state], expected)


def test_curves_far_above_the_agents_are_left_to_the_table() -> None:
    profiles = {
        "agent": [[1.0, 1.5], [2.0, 5.0]], "thompson": [[1.0, 1.2], [2.1, 5.0]],
        "uniform": [[5.0, 26.0], [9.0, 90.0]],
    }  # fmt: skip
    names = [line.get_label() for line in curve_figure(profiles, 10, "regret").axes[0].lines]
    assert names == ["the agent", "Thompson sampling"]
    (section,) = report_sections(profiles, 10, data().description())
    (rows,) = section.tables.values()
    assert [row["who"] for row in rows] == ["the agent", "Thompson sampling", "uniform"]
    assert rows[0]["standard error"] == pytest.approx((1.0 * 10 / 9 / 10) ** 0.5)
    assert report_sections({}, 10, data().description()) == []


@pytest.mark.fault
def test_tasks_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="imitate is 'best'"):
        task(imitate="best")
    with pytest.raises(ValueError, match="DPT is asked about one state"):
        task(imitate="collector")
    told = task("in_context_bandit", {"features": 2}, imitate="collector")
    chances = {"worlds": {"name": "bernoulli_bandit", "actions": 2}, "labels": "posterior"}
    with pytest.raises(ValueError, match="labels 'posterior' is of the best action"):
        told.predict_batch(data(**chances).samples("train")[[0]])
    with pytest.raises(ValueError, match="metric return is not measured in gaussian_bandit"):
        fit(tmp_path, task(metrics=["return"], monitor="return"), data())
    with pytest.raises(ValueError, match="contexts have 9 rounds, but the network has a horizon"):
        fit(tmp_path, task(), data(rounds=9))
    with pytest.raises(ValueError, match="actions=3, the data give 2"):
        fit(tmp_path, task(net={"actions": 3}), data())


@pytest.mark.fault
def test_games_that_cannot_be() -> None:
    agent = task().surrogate.eval()
    with pytest.raises(ValueError, match="temperature is 0, but must be a positive number"):
        agent.player(temperature=0)
    player = agent.player()
    for call in (player.choose, player.chances):
        with pytest.raises(ValueError, match="no bandits yet: call start"):
            call()
    with pytest.raises(ValueError, match="9 rounds are asked for, but the network has a horizon"):
        player.start(rounds=9)
    player.start(batch=2)
    with pytest.raises(ValueError, match="there are 2 bandits"):
        player.learn(torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(ValueError, match="arms from 0 to 1"):
        player.learn(torch.tensor([0, 2]), torch.zeros(2))
    with pytest.raises(ValueError, match="a reward is not finite"):
        player.learn(torch.tensor([0, 1]), torch.tensor([0.0, torch.nan]))
    told = task("in_context_bandit", {"features": 2}).surrogate.eval().player()
    with pytest.raises(ValueError, match="give arms"):
        told.start(batch=2)
