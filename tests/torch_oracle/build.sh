#!/bin/sh
# Build the driver of PyTorch's own allocator: build.sh TORCH CUDA_INCLUDE OUT
# TORCH: an unpacked wheel's torch folder (lib/libc10.so, lib/libc10_cuda.so, include); CUDA_INCLUDE: the CUDA 13 headers.
set -e
here=$(cd "$(dirname "$0")" && pwd)
torch=$(cd "$1" && pwd) cuda=$(cd "$2" && pwd)
mkdir -p "$3"
cd "$3"
g++ -O1 -fPIC -I"$cuda" -c "$here/fake.cpp" -o fake.o
gcc -O1 -fPIC -c "$here/fake2.c" -o fake2.o
g++ -shared fake.o fake2.o -Wl,--version-script="$here/v.map" -Wl,-soname,libcudart.so.13 -o libcudart.so.13
g++ -std=c++20 -O1 -I"$torch/include" -I"$cuda" "$here/drv.cpp" -L"$torch/lib" -L. -lc10_cuda -lc10 -l:libcudart.so.13 \
    -Wl,-rpath,"$PWD:$torch/lib" -Wl,--disable-new-dtags -o drv
