// The small files in which Linux tells of the machine, as text.
#pragma once

#include <string>
#include <vector>

namespace pyedge {

// Its lines, without their ends; none where there is no such file, or none may read it. By C's
// files: C++'s streams bring locales, an eighth of the library on a phone.
std::vector<std::string> read_lines(const std::string& path);

}  // namespace pyedge
