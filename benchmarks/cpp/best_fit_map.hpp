// Best fit, ties to the lowest address: std::map from (size, address) to the block, over the block list. Coalescing follows
// the list's links, so a free costs a tree search for each hole that ends and one for the hole that begins. The hole that was
// just chosen is erased without a second search.
#pragma once
#include <map>
#include <utility>

#include "block_list.hpp"

class BestFitMap {
public:
    struct Links {};
    using Blocks = BlockList<Links>;

    Number find(const Blocks&, int64_t size) {
        chosen_ = holes_.lower_bound({size, 0});
        return chosen_ == holes_.end() ? nil : chosen_->second;
    }
    void insert(Blocks& blocks, Number hole) { holes_.insert({key(blocks, hole), hole}); }
    void erase(Blocks& blocks, Number hole) {
        if (chosen_ != holes_.end() && chosen_->second == hole) holes_.erase(chosen_);
        else holes_.erase(key(blocks, hole));
        chosen_ = holes_.end();
    }
    void change(Blocks& blocks, Number hole, int64_t address, int64_t size) {
        erase(blocks, hole);
        blocks[hole].address = address;
        blocks[hole].size = size;
        insert(blocks, hole);
    }

private:
    using Holes = std::map<std::pair<int64_t, int64_t>, Number>;
    static Holes::key_type key(const Blocks& blocks, Number hole) { return {blocks[hole].size, blocks[hole].address}; }

    Holes holes_;
    Holes::iterator chosen_ = holes_.end();  // by the last find, until the next erase
};
