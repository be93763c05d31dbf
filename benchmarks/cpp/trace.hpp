// The trace as the Python side writes it (benchmarks/cache.py): three int64 (events, blocks, ramp), then a column after another.
#pragma once
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

struct Trace {
    std::vector<uint8_t> op;     // 0 allocate, 1 free
    std::vector<int32_t> block;  // below `blocks`, used again after its free
    std::vector<int64_t> bytes;  // of the request; 0 for a free
    int64_t blocks = 0;

    int64_t events() const { return static_cast<int64_t>(op.size()); }
};

template <class T>
void read_column(std::FILE* file, std::vector<T>& column, int64_t rows) {
    column.resize(static_cast<size_t>(rows));
    if (std::fread(column.data(), sizeof(T), column.size(), file) != column.size()) throw std::runtime_error("the trace file is cut short");
}

inline Trace read_trace(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) throw std::runtime_error("cannot open " + path);
    std::vector<int64_t> header;
    read_column(file, header, 3);
    Trace trace;
    trace.blocks = header[1];
    read_column(file, trace.bytes, header[0]);
    read_column(file, trace.block, header[0]);
    read_column(file, trace.op, header[0]);
    std::fclose(file);
    return trace;
}
