# The JVM runs Group.java, compiled before; the compiler is not recorded.
set -e
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
env -u LD_PRELOAD javac -d "$folder" "$(dirname "$0")/Group.java"
java -cp "$folder" Group
