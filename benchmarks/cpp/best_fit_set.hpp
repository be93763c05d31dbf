// Best fit, ties to the lowest address, as it is often written: holes in a std::set of (size, address) to choose from and in a
// std::map from address to size to find neighbours in. There is no list of blocks; addresses and sizes are in granules.
#pragma once
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "block_list.hpp"

class BestFitSet {
public:
    explicit BestFitSet(int64_t blocks) : address_(static_cast<size_t>(blocks)), size_(static_cast<size_t>(blocks)) {}

    int64_t allocate(int32_t id, int64_t bytes) {
        const int64_t size = granules(bytes);
        address_[static_cast<size_t>(id)] = place(size);
        size_[static_cast<size_t>(id)] = size;
        return address_[static_cast<size_t>(id)];
    }

    void release(int32_t id) {
        int64_t address = address_[static_cast<size_t>(id)], size = size_[static_cast<size_t>(id)];
        auto after = by_address_.lower_bound(address);
        if (after != by_address_.end() && after->first == address + size) {
            size += after->second;
            by_size_.erase({after->second, after->first});
            after = by_address_.erase(after);
        }
        if (after != by_address_.begin()) {
            const auto before = std::prev(after);
            if (before->first + before->second == address) {
                by_size_.erase({before->second, before->first});
                before->second += size;
                by_size_.insert({before->second, before->first});
                return;
            }
        }
        by_address_.emplace_hint(after, address, size);
        by_size_.insert({size, address});
    }

    int64_t reserved_bytes() const { return end_ * granule; }
    int64_t holes() const { return static_cast<int64_t>(by_size_.size()); }
    void clear() {}

private:
    int64_t place(int64_t size) {
        const auto best = by_size_.lower_bound({size, 0});
        if (best == by_size_.end()) return grow(size);
        const int64_t address = best->second, rest = best->first - size;
        by_size_.erase(best);
        const auto after = by_address_.erase(by_address_.find(address));
        if (rest > 0) {
            by_address_.emplace_hint(after, address + size, rest);
            by_size_.insert({rest, address + size});
        }
        return address;
    }

    int64_t grow(int64_t size) {
        int64_t address = end_;
        if (!by_address_.empty()) {
            const auto last = std::prev(by_address_.end());
            if (last->first + last->second == end_) {
                address = last->first;
                by_size_.erase({last->second, last->first});
                by_address_.erase(last);
            }
        }
        end_ = address + size;
        return address;
    }

    std::set<std::pair<int64_t, int64_t>> by_size_;
    std::map<int64_t, int64_t> by_address_;
    std::vector<int64_t> address_, size_;  // of the live block of each id
    int64_t end_ = 0;
};
