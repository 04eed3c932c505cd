"""Train every row of the paper's two tables at equal budgets and write them.

    python reproduce_tables.py --setting=A --seconds=225 --seeds=1 --images_limit=10 --data_dir=FOLDER
    python reproduce_tables.py --setting=B --seconds=225 --seeds=3
    python reproduce_tables.py --setting=A --num_iters=3000 --batch_size=100 --data_dir=care    the paper's settings
    python reproduce_tables.py --setting=A --runs=FOLDER --data_dir=care    runs that are finished, none trained

Setting A: few real pairs; B: unpaired (x and y of the same rows, drawn independently). --seconds is the time of the
training steps of one row: methods with one network per task share it, and in B a CIN-GAN counts in its row. A step is
measured first and turned into a number of iterations, so that schedules never depend on the clock. Results:
table_A.md, table_A.json (every score of every image and seed) and table_A.png below --dir. What is finished is kept:
the same command again goes on where it was stopped, and tries again what failed.

--runs scores finished runs of any length and precision, FOLDER/<job>/<results folder>[/<task>], where a job is care,
care_augmented, deblurgan, cyclegan, cin_paper, paper, paper_cin, paper_unpaired, cin_tuned, tuned, tuned_cin,
tuned_unpaired, tuned_started or tuned_unpaired_started: FOLDER/paper/Microscopy_cGAN_results,
FOLDER/care/CARE_results/Retina. Rows without a run are left out.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import data_utils
from common import command_line
from common.command_line import Arguments
from common.errors import InputError, run_script
from common.files import json_values
from data_utils import Task
from tables.data import Data
from tables.finished import finished_rows
from tables.rows import ROWS
from tables.table import Table, describe_machine, describe_task
from tables.trainings import Length, Shared, Trainings
from training.options import tell_idle

# Arguments that change what a cell means: a folder's cells must agree in them.
FIXED_WITH_RUNS = "setting runs images_limit eval_limit data_dir tasks"
FIXED = f"{FIXED_WITH_RUNS} unpaired_limit num_iters seconds batch_size vgg_weights no_rotate rotate"


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = command_line.OneLineParser(__doc__)
    add = parser.add_argument
    add("--setting", choices=list(ROWS), required=True, help="A: few real pairs; B: unpaired")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--num_iters", type=command_line.integer(1), help="iterations of every network")
    length.add_argument("--seconds", type=command_line.seconds, help="seconds of training steps of every row")
    add("--runs", type=Path, metavar="FOLDER", help="score the finished runs in this folder; nothing is trained")
    add("--seeds", type=command_line.integer(1), default=1, help="how many seeds, from --seed on (default: 1)")
    add("--seed", type=command_line.integer(0), default=42, help="the first seed (default: 42)")
    add("--batch_size", type=command_line.integer(1), default=4, help="of recipe paper's rows (4; published: 100)")
    add("--images_limit", type=command_line.integer(1, (-1,)), default=10, help="pairs per task (default: 10); -1: all")
    add("--unpaired_limit", type=command_line.integer(0, (-1,)), default=0, help="as in the training scripts")
    add("--eval_limit", type=command_line.integer(1), help="as in the training scripts")
    add("--data_dir", type=Path, help="as in the training scripts")
    add("--tasks", type=command_line.names, help="as in the training scripts")
    add("--no_rotate", type=command_line.names, help="as in the training scripts")
    add("--rotate", type=command_line.names, help="as in the training scripts")
    add("--vgg_weights", default="imagenet", metavar="imagenet|random|PATH.h5", help="filters of content losses")
    add("--num_gpu", type=command_line.integer(0, ()), help="as in the training scripts; baselines use one")
    add("--dir", type=Path, default=Path("results"), help="folder of the tables and runs (default: results)")
    return parser


def main(args: Arguments) -> int:
    """Train what is missing, or take finished runs; score them and write the tables. Returns the exit code."""
    tell_idle("reproduce_tables", args)
    if not (args.num_iters or args.seconds or args.runs):
        raise InputError("how long? give --num_iters or --seconds, or finished --runs")
    folder = args.data_dir or data_utils.default_data_dir()
    data = Data(args.images_limit, args.unpaired_limit, args.eval_limit, folder, args.tasks)
    tasks, notices = data.load(args.seed)
    for notice in notices:
        print(f"note: {notice}")
    try:
        (score_finished if args.runs else train_and_score)(args, data, tasks)
    except KeyboardInterrupt:
        print("stopped; repeat the same command to continue")
        return 130
    page = args.dir / f"table_{args.setting}.md"
    print(f"\n{page.read_text(encoding='utf-8')}\n{page}, .json and .png")
    return 0


def open_table(args: Arguments, data: Data, tasks: list[Task], fixed: str, **about: Any) -> Table:
    """The table in --dir; `fixed` names the arguments in which the record that is there must agree."""
    settings = json_values({**vars(args), "data_dir": data.data_dir})
    about["command"] = "python reproduce_tables.py " + shlex.join(sys.argv[1:])
    about["data"] = "; ".join(describe_task(task) for task in tasks)
    return Table(args.setting, args.dir, {key: settings[key] for key in fixed.split()}, about)


def train_and_score(args: Arguments, data: Data, tasks: list[Task]) -> None:
    """Train every row of every seed that is not finished, and score it."""
    seeds = [args.seed + i for i in range(args.seeds)]
    table = open_table(args, data, tasks, FIXED, machine=describe_machine(args.num_gpu), seeds=seeds)
    length, names = Length(args.num_iters, args.seconds), [task.name for task in tasks]
    trainings = Trainings(args.setting, table.runs_folder, shared(args, data), length, names, table.record["plan"])
    trainings.measure(tasks, table.save)
    for seed in seeds:
        tasks, _ = data.load(seed)
        failures = trainings.train(seed, seeds[-1])
        table.score(ROWS[args.setting], tasks, seed, trainings.seed_folder(seed), failures)
        table.write(tasks, seed)


def score_finished(args: Arguments, data: Data, tasks: list[Task]) -> None:
    """Score the runs in --runs as they stand, each time anew: they may have gone on since."""
    rows = finished_rows(args.setting, args.runs, data, args.seed, tasks)
    table = open_table(args, data, tasks, FIXED_WITH_RUNS, seeds=[args.seed])
    table.record["cells"] = {}
    table.score(rows, tasks, args.seed, args.runs, failures={})
    table.write(tasks, args.seed)


def shared(args: Arguments, data: Data) -> Shared:
    """What every training gets."""
    values = {**vars(data), "vgg_weights": args.vgg_weights, "no_rotate": args.no_rotate, "rotate": args.rotate}
    texts = {key: ",".join(value) if isinstance(value, list) else value for key, value in values.items()}
    flags = [f"--{key}={text}" for key, text in texts.items() if text is not None]
    return Shared(flags, args.num_gpu, args.batch_size)


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
