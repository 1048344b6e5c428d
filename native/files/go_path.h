// Path arithmetic with the rules of Go's path/filepath on Unix: BuildKit's file semantics (what a trailing
// slash or `/.` means, what a wildcard matches) are defined by these functions.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace obd::files {

std::string clean_path(std::string_view path);                      // filepath.Clean
std::string join_path(std::string_view a, std::string_view b);      // filepath.Join
std::string base_name(std::string_view path);                       // filepath.Base
std::string dir_name(std::string_view path);                        // filepath.Dir
std::pair<std::string, std::string> split_path(std::string_view p);  // filepath.Split: dir keeps its slash

// The components of a path; empty ones and "." are left out, ".." stays.
std::vector<std::string> path_components(std::string_view path);

// Whether a wildcard (`*`, `?`, `[`) occurs in the name, escapes respected.
bool contains_wildcards(std::string_view name);

// The part of a cleaned path before the first component with a wildcard, and the rest ("" when none).
std::pair<std::string, std::string> split_wildcards(std::string_view path);

}  // namespace obd::files
