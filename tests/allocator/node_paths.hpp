// The paths through the nodes of the mapping tree that this machine has: tests go through each.
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "allocator/mapping_node.hpp"

namespace granule::test {

inline std::vector<NodePath> node_paths() {
    std::vector<NodePath> paths;
    std::copy_if(kNodePaths.begin(), kNodePaths.end(), std::back_inserter(paths), has_node_path);
    return paths;
}

}  // namespace granule::test
