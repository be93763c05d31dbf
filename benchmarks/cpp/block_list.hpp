// The heap as an address-ordered, doubly linked list of blocks, live and free, in one growing table; and the part of an
// allocator that is the same for every policy over it: split, coalesce, grow. The policy is the index of the holes.
// Addresses and sizes are in granules of 16 bytes.
#pragma once
#include <cstdint>
#include <vector>

using Number = uint32_t;        // of a block in the table
constexpr Number nil = 0;       // block 0: never free, before the first and after the last block
constexpr int64_t granule = 16;

inline int64_t granules(int64_t bytes) { return bytes <= granule ? 1 : (bytes + granule - 1) / granule; }

// `Links` are the fields an index keeps in each block, so that a hole needs no second record.
template <class Links>
struct Block : Links {
    int64_t address = 0;
    int64_t size = 0;
    Number before = nil;
    Number after = nil;  // of an unused record: the next unused one
    bool is_free = false;
};

template <class Links>
class BlockList {
public:
    BlockList() : table_(1) {}

    Block<Links>& operator[](Number number) { return table_[number]; }
    const Block<Links>& operator[](Number number) const { return table_[number]; }
    Number last() const { return table_[nil].before; }

    // A new live block in front of `next` (nil: at the end of the heap).
    Number insert_before(Number next, int64_t address, int64_t size) {
        Number number = unused_;
        if (number != nil) {
            unused_ = table_[number].after;
        } else {
            number = static_cast<Number>(table_.size());
            table_.emplace_back();
        }
        Block<Links>& block = table_[number];
        block.address = address;
        block.size = size;
        block.is_free = false;
        block.before = table_[next].before;
        block.after = next;
        table_[block.before].after = number;
        table_[next].before = number;
        return number;
    }

    void remove(Number number) {
        Block<Links>& block = table_[number];
        table_[block.before].after = block.after;
        table_[block.after].before = block.before;
        block.after = unused_;
        unused_ = number;
    }

    int64_t holes() const {
        int64_t count = 0;
        for (Number number = table_[nil].after; number != nil; number = table_[number].after) count += table_[number].is_free;
        return count;
    }

private:
    std::vector<Block<Links>> table_;
    Number unused_ = nil;
};

// An index says where the next request goes. It has
//   find(blocks, size)                      the hole for a request, or nil
//   insert(blocks, hole), erase(blocks, hole)
//   change(blocks, hole, address, size)     the hole, known to the index, moves its ends; its place among the holes stays
template <class Index>
class ListHeap {
public:
    explicit ListHeap(int64_t blocks) : live_(static_cast<size_t>(blocks), nil) {}

    int64_t allocate(int32_t id, int64_t bytes) {
        const Number number = place(granules(bytes));
        live_[static_cast<size_t>(id)] = number;
        return blocks_[number].address;
    }

    void release(int32_t id) {
        const Number number = live_[static_cast<size_t>(id)];
        const Number before = blocks_[number].before, after = blocks_[number].after;
        const int64_t address = blocks_[number].address;
        int64_t size = blocks_[number].size;
        if (blocks_[before].is_free) {
            size += blocks_[before].size;
            blocks_.remove(number);
            if (blocks_[after].is_free) {
                size += blocks_[after].size;
                index_.erase(blocks_, after);
                blocks_.remove(after);
            }
            index_.change(blocks_, before, blocks_[before].address, size);
        } else if (blocks_[after].is_free) {
            blocks_.remove(number);
            index_.change(blocks_, after, address, size + blocks_[after].size);
        } else {
            blocks_[number].is_free = true;
            index_.insert(blocks_, number);
        }
    }

    int64_t reserved_bytes() const { return end_ * granule; }
    int64_t holes() const { return blocks_.holes(); }
    void clear() {}

private:
    // The low end of the hole that the index chooses; without one the heap grows, and a free tail serves as its beginning.
    Number place(int64_t size) {
        const Number hole = index_.find(blocks_, size);
        if (hole != nil) {
            const int64_t address = blocks_[hole].address, rest = blocks_[hole].size - size;
            if (rest > 0) {
                const Number low = blocks_.insert_before(hole, address, size);
                index_.change(blocks_, hole, address + size, rest);
                return low;
            }
            index_.erase(blocks_, hole);
            blocks_[hole].is_free = false;
            return hole;
        }
        const Number tail = blocks_.last();
        if (!blocks_[tail].is_free) {
            end_ += size;
            return blocks_.insert_before(nil, end_ - size, size);
        }
        index_.erase(blocks_, tail);
        blocks_[tail].is_free = false;
        blocks_[tail].size = size;
        end_ = blocks_[tail].address + size;
        return tail;
    }

    BlockList<typename Index::Links> blocks_;
    Index index_;
    std::vector<Number> live_;  // the block that holds each id
    int64_t end_ = 0;
};
