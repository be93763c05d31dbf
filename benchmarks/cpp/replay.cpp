// Replays a trace through one allocator and prints, as one line of JSON, the user CPU time of the replay alone.
//   replay ALLOCATOR TRACE STEADY_FROM MIN_SECONDS
// The trace is replayed from an empty heap again and again until MIN_SECONDS of CPU time have been spent, because the clock
// of user time is coarse. Events from STEADY_FROM on are also timed on their own.
#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "best_fit_map.hpp"
#include "best_fit_set.hpp"
#include "block_list.hpp"
#include "first_fit_treap.hpp"
#include "glibc.hpp"
#include "trace.hpp"

static double user_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
}

struct Result {
    int64_t replays = 0;
    double seconds = 0, steady_seconds = 0;  // of all replays together
    int64_t peak_reserved_bytes = 0;         // the heaps here never shrink: what they hold at the end
    int64_t holes = 0;                       // at the end
    uint64_t address_sum = 0;                // of one replay: equal for two allocators that place alike
};

template <class Heap>
static uint64_t play(const Trace& trace, Heap& heap, int64_t from, int64_t to) {
    uint64_t sum = 0;
    for (int64_t event = from; event < to; event++) {
        const size_t row = static_cast<size_t>(event);
        if (trace.op[row] == 0) sum += static_cast<uint64_t>(heap.allocate(trace.block[row], trace.bytes[row]));
        else heap.release(trace.block[row]);
    }
    return sum;
}

template <class Heap>
static Result measure(const Trace& trace, int64_t steady_from, double min_seconds) {
    Result result;
    do {
        Heap heap(trace.blocks);
        const double start = user_seconds();
        uint64_t sum = play(trace, heap, 0, steady_from);
        const double middle = user_seconds();
        sum += play(trace, heap, steady_from, trace.events());
        const double end = user_seconds();
        result.seconds += end - start;
        result.steady_seconds += end - middle;
        result.replays++;
        result.peak_reserved_bytes = heap.reserved_bytes();
        result.holes = heap.holes();
        result.address_sum = sum;
        heap.clear();
    } while (result.seconds < min_seconds);
    return result;
}

static Result measure(const std::string& allocator, const Trace& trace, int64_t steady_from, double min_seconds) {
    if (allocator == "best-fit-map") return measure<ListHeap<BestFitMap>>(trace, steady_from, min_seconds);
    if (allocator == "best-fit-set") return measure<BestFitSet>(trace, steady_from, min_seconds);
    if (allocator == "first-fit-treap") return measure<ListHeap<FirstFitTreap>>(trace, steady_from, min_seconds);
    if (allocator == "glibc") return measure<SystemMalloc>(trace, steady_from, min_seconds);
    throw std::runtime_error("unknown allocator " + allocator);
}

int main(int count, char** words) {
    try {
        if (count != 5) throw std::runtime_error("usage: replay ALLOCATOR TRACE STEADY_FROM MIN_SECONDS");
        const Trace trace = read_trace(words[2]);
        const Result result = measure(words[1], trace, std::stoll(words[3]), std::stod(words[4]));
        std::printf(
            "{\"replays\": %lld, \"seconds\": %.9f, \"steady_seconds\": %.9f, \"peak_reserved_bytes\": %lld, \"holes\": %lld, "
            "\"address_sum\": %llu}\n",
            static_cast<long long>(result.replays), result.seconds, result.steady_seconds,
            static_cast<long long>(result.peak_reserved_bytes), static_cast<long long>(result.holes),
            static_cast<unsigned long long>(result.address_sum));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "replay: %s\n", error.what());
        return 1;
    }
}
