# For CMAKE_PROJECT_INCLUDE, where ROS comes as wheels. Their message packages' targets name include
# folders of the machine that built them, under /opt/python, and CMake refuses a target whose folders
# are missing. Deferred, because the targets are there only after the project's find_package calls.
function(drop_missing_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "/opt/python/")
      list(FILTER folders EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL drop_missing_includes)
