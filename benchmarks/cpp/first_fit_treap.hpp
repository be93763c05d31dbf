// First fit: the holes in a treap ordered by address, whose nodes are the free blocks of the list themselves. Each node knows
// the largest hole below it, so that the lowest hole that is large enough is one walk down. A hole that changes its ends
// keeps its place; only the maxima above it are put right, as far up as they change.
#pragma once
#include <algorithm>
#include <cstdint>

#include "block_list.hpp"

class FirstFitTreap {
public:
    struct alignas(64) Links {  // with the fields of Block one cache line
        int64_t largest = 0;    // size of the largest hole in the subtree; 0 in the nil block
        Number left = nil, right = nil, parent = nil;
        uint32_t priority = 0;  // above those of both children
    };
    using Blocks = BlockList<Links>;

    Number find(const Blocks& blocks, int64_t size) const {
        Number node = root_;
        if (blocks[node].largest < size) return nil;
        while (true) {
            const auto& block = blocks[node];
            if (blocks[block.left].largest >= size) node = block.left;
            else if (block.size >= size) return node;
            else node = block.right;
        }
    }

    void insert(Blocks& blocks, Number hole) {
        auto& block = blocks[hole];
        block.left = block.right = block.parent = nil;
        block.priority = draw();
        block.largest = block.size;
        Number above = nil;
        for (Number node = root_; node != nil;) {
            above = node;
            blocks[node].largest = std::max(blocks[node].largest, block.size);
            node = block.address < blocks[node].address ? blocks[node].left : blocks[node].right;
        }
        block.parent = above;
        if (above == nil) root_ = hole;
        else if (block.address < blocks[above].address) blocks[above].left = hole;
        else blocks[above].right = hole;
        while (block.parent != nil && blocks[block.parent].priority < block.priority) rotate_up(blocks, hole);
    }

    void erase(Blocks& blocks, Number hole) {
        auto& block = blocks[hole];
        while (block.left != nil && block.right != nil)
            rotate_up(blocks, blocks[block.left].priority > blocks[block.right].priority ? block.left : block.right);
        const Number child = block.left != nil ? block.left : block.right;
        if (child != nil) blocks[child].parent = block.parent;
        hang(blocks, block.parent, hole, child);
        refresh(blocks, block.parent);
    }

    void change(Blocks& blocks, Number hole, int64_t address, int64_t size) {
        blocks[hole].address = address;
        blocks[hole].size = size;
        refresh(blocks, hole);
    }

private:
    static int64_t largest(const Blocks& blocks, Number node) {
        const auto& block = blocks[node];
        return std::max(block.size, std::max(blocks[block.left].largest, blocks[block.right].largest));
    }

    static void refresh(Blocks& blocks, Number node) {
        while (node != nil) {
            const int64_t now = largest(blocks, node);
            if (now == blocks[node].largest) return;
            blocks[node].largest = now;
            node = blocks[node].parent;
        }
    }

    // `instead` takes the place of `child` below `parent` (nil: at the root).
    void hang(Blocks& blocks, Number parent, Number child, Number instead) {
        if (parent == nil) root_ = instead;
        else if (blocks[parent].left == child) blocks[parent].left = instead;
        else blocks[parent].right = instead;
    }

    void rotate_up(Blocks& blocks, Number node) {
        const Number parent = blocks[node].parent, above = blocks[parent].parent;
        const bool is_left = blocks[parent].left == node;
        Number& inner = is_left ? blocks[node].right : blocks[node].left;
        if (inner != nil) blocks[inner].parent = parent;
        (is_left ? blocks[parent].left : blocks[parent].right) = inner;
        inner = parent;
        blocks[parent].parent = node;
        blocks[node].parent = above;
        hang(blocks, above, parent, node);
        blocks[node].largest = blocks[parent].largest;
        blocks[parent].largest = largest(blocks, parent);
    }

    uint32_t draw() {  // xorshift: the shape of the tree depends on it, the placement does not
        random_ ^= random_ << 13;
        random_ ^= random_ >> 17;
        random_ ^= random_ << 5;
        return random_;
    }

    Number root_ = nil;
    uint32_t random_ = 12345;
};
