// The C library's own malloc and free, called for real. It touches memory (its headers), which a simulated policy does not.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <vector>

class SystemMalloc {
public:
    explicit SystemMalloc(int64_t blocks) : pointer_(static_cast<size_t>(blocks), nullptr) {}

    int64_t allocate(int32_t id, int64_t bytes) {
        pointer_[static_cast<size_t>(id)] = std::malloc(static_cast<size_t>(bytes));
        return reinterpret_cast<int64_t>(pointer_[static_cast<size_t>(id)]);
    }
    void release(int32_t id) {
        std::free(pointer_[static_cast<size_t>(id)]);
        pointer_[static_cast<size_t>(id)] = nullptr;
    }
    int64_t reserved_bytes() const { return 0; }  // the library does not say
    int64_t holes() const { return 0; }
    void clear() {
        for (void*& pointer : pointer_) std::free(pointer);
    }

private:
    std::vector<void*> pointer_;
};
