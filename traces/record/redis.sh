# A Redis that holds 3 MB at most and evicts by least recent use, under writes of several kinds.
redis-server --port 7777 --save "" --maxmemory 3mb --maxmemory-policy allkeys-lru --io-threads 2 > /dev/null &
until redis-cli -p 7777 ping > /dev/null 2>&1; do sleep 0.1; done
redis-benchmark -p 7777 -t set,lpush,zadd,hset -r 100000 -n 900 -d 300 -q > /dev/null
redis-cli -p 7777 shutdown nosave
wait
