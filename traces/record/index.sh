# git indexes a pack of all objects of the repository in $1, on four threads; how the pack is made is not recorded.
set -e
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
env -u LD_PRELOAD git -C "$1" pack-objects --all --stdout -q < /dev/null > "$folder/all.pack"
git -C "$folder" index-pack --threads=4 -o "$folder/all.idx" "$folder/all.pack"
