"""Two published Omniglot models as contestants, from their authors' weight files: reference points, not peers.

Both were trained on the large background set, so they have probably seen most characters that the minimal setting holds
out. Reading the Keras file needs ``pip install h5py``.

- ProtoNet by schatty (github.com/schatty/prototypical-networks-tf, MIT): Conv-4 on ink in 0..1, running statistics.
- Relation network by Flood Sung (github.com/floodsung/LearningToCompare_FSL, MIT), of the paper by Sung et al., CVPR
  2018: maps of 64 x 5 x 5 side by side, sums over shots, batch statistics of the episode's support, queries and pairs,
  as its authors test it; so a query's prediction depends on the others.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from episodes import Episode
from fewshot import load_learner


class PublishedProtoNet(nn.Module):
    """Squared distances to class means."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        import h5py

        layers: list[nn.Module] = []
        with h5py.File(file) as held:
            for block in range(4):
                tail = f"_{block}" if block else ""
                weights = {}
                for layer in (f"conv2d{tail}", f"batch_normalization_v2{tail}"):
                    for name, value in held[f"model_weights/{layer}/prototypical/sequential/{layer}"].items():
                        weights[name.split(":")[0]] = torch.from_numpy(value[()])
                convolution, norm = nn.Conv2d(1 if not block else 64, 64, 3, padding=1), nn.BatchNorm2d(64, eps=1e-3)
                convolution.weight.data = weights["kernel"].permute(3, 2, 0, 1).contiguous()
                convolution.bias.data = weights["bias"]  # type: ignore[union-attr]
                norm.weight.data, norm.bias.data = weights["gamma"], weights["beta"]
                norm.running_mean, norm.running_var = weights["moving_mean"], weights["moving_variance"]
                layers += [convolution, norm, nn.ReLU(), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*layers, nn.Flatten()).eval()

    def forward(self, episode: Episode) -> Tensor:
        """Logits ``[E, Q, N]``."""
        rows = {}
        for name in ("support", "query"):
            pictures = getattr(episode, name)
            rows[name] = self.encoder(pictures.flatten(0, 1)).view(*pictures.shape[:2], -1)
        return load_learner("prototypes")(episode.replace(**rows))


def _block(before: int, padding: int, pool: bool) -> nn.Sequential:
    # In training mode the norm takes the statistics at hand, which is how the authors test.
    layers = [nn.Conv2d(before, 64, 3, padding=padding), nn.BatchNorm2d(64, track_running_stats=False), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class PublishedRelation(nn.Module):
    """One model for each number of ways and shots that was trained."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.encoders, self.relations = nn.ModuleDict(), nn.ModuleDict()
        for task in ("5way_1shot", "5way_5shot", "20way_1shot", "20way_5shot"):
            encoder = nn.Sequential(_block(1, 0, True), _block(64, 0, True), _block(64, 1, False), _block(64, 1, False))
            relation = nn.Sequential(
                _block(128, 1, True), _block(64, 1, True), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1)
            )
            for net, name, places in (
                (encoder, "feature_encoder", {f"layer{n + 1}": str(n) for n in range(4)}),
                (relation, "relation_network", {"layer1": "0", "layer2": "1", "fc1": "3", "fc2": "5"}),
            ):
                saved = torch.load(folder / f"omniglot_{name}_{task}.pkl", map_location="cpu", weights_only=True)
                kept = {key: value for key, value in saved.items() if "running" not in key}
                net.load_state_dict({f"{places[key.split('.')[0]]}.{key.split('.', 1)[1]}": kept[key] for key in kept})
            self.encoders[task], self.relations[task] = encoder, relation

    def forward(self, episode: Episode) -> Tensor:
        """Logits ``[E, Q, N]``; episodes one after the other, as each has statistics of its own."""
        shots = int(episode.shots.max())
        task = f"{episode.way}way_{5 if shots == 5 else 1}shot"
        encoder, relation = self.encoders[task], self.relations[task]
        found = []
        for support, labels, query in zip(episode.support, episode.labels, episode.query, strict=True):
            maps = [encoder((1 - rows - 0.92206) / 0.08426) for rows in (support, query)]  # paper is 1
            sums = torch.zeros(episode.way, *maps[0].shape[1:]).index_add(0, labels, maps[0])  # [N, 64, 5, 5]
            ways, queries = len(sums), len(query)
            pairs = torch.cat([
                sums.unsqueeze(0).expand(queries, -1, -1, -1, -1),
                maps[1].unsqueeze(1).expand(-1, ways, -1, -1, -1),
            ], 2)  # fmt: skip
            found.append(relation(pairs.flatten(0, 1)).view(queries, ways))
        return torch.stack(found)


def published(folder: Path) -> dict[str, nn.Module]:
    """Both, from the folder that holds the two repositories."""
    return {
        "published ProtoNet": PublishedProtoNet(folder / "schatty_protonet/results/models/omniglot1234_trainval.h5"),
        "published Relation": PublishedRelation(folder / "floodsung_relationnet/omniglot/models"),
    }
