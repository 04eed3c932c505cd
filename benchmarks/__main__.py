"""The measurements behind the numbers of README.md and docs/, run from the repository root.

python -m benchmarks                        lists them
python -m benchmarks quality --help         says what one measures, and its flags: keyword arguments of its `main`
"""

import sys
from importlib import import_module
from inspect import signature

from common.command_line import OneLineParser
from common.errors import InputError, run_script

NAMES = {
    "quality": "how well recipe tuned restores: seeds, pairs, unpaired images, ablation, length, precision, noise",
    "ablation": "a training with one ingredient removed, or with an adversarial term",
    "paper_recipe": "what each part of recipe paper is worth, with a quarter of its filters",
    "paper_pairs": "whether recipe paper's CIN-GAN makes the defects, and whether its pairs help",
    "parametric_generator": "a defect model with a handful of numbers, the control that CIN-GAN has to beat",
    "defect_distance": "how far the defects that CIN-GAN makes are from real ones",
    "sharpness": "scores and sharpness of generators on images set aside",
    "flux": "whether restoring keeps intensities",
    "trust_figures": "whether the uncertainty is calibrated, and whether the check finds planted inventions",
    "outliers": "what a hot pixel, a bead or a line does to the restored image around it",
    "isotropic": "how well stacks become isotropic: simulated volumes of known truth",
    "foreign": "what the shipped generator does to images that it was not made for, and to images of nothing",
    "fields": "a picture of restored test fields: input, CARE, ours, ground truth",
    "pairs_curve": "a picture of PSNR against the number of pairs, from the records of quality",
    "training_curve": "a picture of how a training went, from its log.csv",
    "training_steps": "a picture of what a cGAN restores at some iterations of its training",
    "speed": "seconds and memory of training, restoring, loading, and of several processes",
}


def main(argv):
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\n" + "\n".join(f"{name:22}{line}" for name, line in NAMES.items()))
        return 0
    if argv[0] not in NAMES:
        raise InputError(f"no benchmark {argv[0]!r}; choose one of {', '.join(NAMES)}")
    benchmark = import_module(f"benchmarks.{argv[0]}")
    parser, takes_words = OneLineParser(benchmark.__doc__), False
    for name, flag in signature(benchmark.main).parameters.items():
        takes_words |= flag.kind is flag.VAR_POSITIONAL
        if flag.kind is flag.KEYWORD_ONLY:
            needed = flag.default is flag.empty
            parser.add_argument(
                f"--{name}", type=flag.annotation, required=needed, default=None if needed else flag.default
            )
    args, words = parser.parse_known_args(argv[1:])
    if words and not takes_words:
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    return benchmark.main(*words, **vars(args)) or 0


if __name__ == "__main__":
    run_script(main, sys.argv[1:])
