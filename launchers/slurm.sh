#!/bin/bash
# P-tuning on several nodes under Slurm: one torchrun a node, which starts one rank a GPU.
#
#   sbatch --nodes 4 launchers/slurm.sh --model DIR --data_dir LAMA --output_dir /shared/out
#   sbatch --nodes 4 launchers/slurm.sh --resume_from /shared/out
#
# Submit from the root of the repository. The virtual environment, the model, the facts and the
# output directory must be at the same place on all nodes; leave --num_gpus out.

# To adapt: partition and account (or give them to sbatch), GPUs and cores of a node, time.
#SBATCH --job-name=ptune_scale
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
#SBATCH --output=slurm-%j.out
# Ranks get SIGTERM this long before the time is up, save, and end.
#SBATCH --signal=TERM@300

set -euo pipefail

# Slurm runs a copy of this file from elsewhere, but starts it where it was submitted.
# shellcheck source=/dev/null
source .venv/bin/activate

ranks_per_node=${SLURM_GPUS_ON_NODE:-1} # without GPUs: set the number of ranks here
export ranks_per_node
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / ranks_per_node))

# All nodes meet at the first one. The port differs from job to job, so that two may share a node.
read -r head_node < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export head_node
export port=$((20000 + SLURM_JOB_ID % 10000))

# To adapt where nodes have several networks: the interface that reaches the other nodes.
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0

# With --kill-on-bad-exit a lost node ends the job on the others; go on with --resume_from.
# What is in single quotes is for the nodes: only there is it known which of them is the first.
# shellcheck disable=SC2016
exec srun --kill-on-bad-exit=1 bash -c '
    exec torchrun \
        --nnodes "$SLURM_JOB_NUM_NODES" \
        --nproc_per_node "$ranks_per_node" \
        --rdzv_id "$SLURM_JOB_ID" \
        --rdzv_backend c10d \
        --rdzv_endpoint "$head_node:$port" \
        --rdzv_conf "is_host=$((SLURM_NODEID == 0))" \
        launchers/lama.py "$@"
' bash "$@"
