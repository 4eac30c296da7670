"""A forward pass on a CPU with weights as they are, and laid out once: processor time of a picture, one thread.

    python benchmarks/laid_out_weights.py resnet18 vit_small_patch16_224 --precision bfloat16
    python benchmarks/laid_out_weights.py resnet18 mobilenetv2_100 --precision float32

Both alternate; the least of some rounds is printed, and whether the features are the same bits. Weights are random.
"""

from __future__ import annotations

import argparse
import time

import timm
import torch

from fewshot.embedding.copies import laid_out
from fewshot.embedding.forward import computing, gains_by_channels_last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.networks:
        plain = timm.create_model(name, pretrained=False, num_classes=0).eval()
        last = gains_by_channels_last(plain)
        ways = {"as they are": plain, "laid out": laid_out(plain, options.precision, channels_last=last)}
        for batch in options.batch:
            pictures = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
            if last:
                pictures = pictures.contiguous(memory_format=torch.channels_last)
            times: dict[str, list[float]] = {way: [] for way in ways}
            rows = {}
            for _ in range(options.rounds):
                for way, network in ways.items():
                    with computing(torch.device("cpu"), options.precision):
                        started = time.process_time()
                        rows[way] = network(pictures)
                        times[way].append(time.process_time() - started)
            shown = ", ".join(f"{way} {1000 * min(some) / batch:.1f} ms" for way, some in times.items())
            same = torch.equal(*rows.values())
            print(f"{name}, {options.precision}, batches of {batch}: {shown}; {'the same' if same else 'OTHER'} bits")


if __name__ == "__main__":
    main()
